"""Equations become MathML when the book is built, so that no page needs a script to show them."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex leaves of $...$ and $$...$$.
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<latex>.*?)\\[)\]]</\1>', re.DOTALL)


def with_mathml(page: str) -> str:
    """The page with its equations as MathML, which keeps their LaTeX in an annotation for screen readers and for copying."""

    def written(found: re.Match) -> str:
        latex = html.unescape(found["latex"]).strip()
        return convert(latex, display="block" if found["kind"] == "[" else "inline")

    return EQUATION.sub(written, page)


def on_page_content(text: str, **_: Any) -> str:
    """mkdocs: the body of a page is ready."""
    return with_mathml(text)
