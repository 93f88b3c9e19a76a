"""Stand-alone HTML reports: one page, pictures inside, nothing loaded from anywhere."""

from latentgate.report.fit import write_fit_report
from latentgate.report.page import new_figure, paragraphs, picture, png, table, whole_page

__all__ = ["new_figure", "paragraphs", "picture", "png", "table", "whole_page", "write_fit_report"]
