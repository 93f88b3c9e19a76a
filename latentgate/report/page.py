"""The pieces of a page: paragraphs, tables, pictures, and the page around them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; height: auto; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: .9rem; }
table { border-collapse: collapse; margin: .8rem 0; } th, td { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #999; font-weight: 600; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
.answer { background: #f2f6f9; border-left: 4px solid #0072B2; padding: .6rem 1rem; }
"""


def whole_page(title: str, sections: Iterable[tuple[str, str]]) -> str:
    """A whole page.

    Args:
        title: plain text.
        sections: headings, plain text, and their content, HTML; one without content is left out.
    """
    body = "\n".join(f"<h2>{escape(heading)}</h2>\n{content}" for heading, content in sections if content)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n'
        f"<body>\n<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def answer(sentences: Iterable[str]) -> str:
    """What the reader came for, set off."""
    return f'<div class="answer">{paragraphs(sentences)}</div>'


def paragraphs(sentences: Iterable[str]) -> str:
    """One paragraph each, of plain text."""
    return "".join(f"<p>{escape(sentence)}</p>\n" for sentence in sentences)


def table(heading: tuple[str, ...], rows: Iterable[tuple[str, ...]], numbers: tuple[int, ...] = ()) -> str:
    """A table of plain text; the columns `numbers` are set to the right, and a heading of empty strings is left out."""
    top = "".join(f"<th>{escape(title)}</th>" for title in heading)
    lines = []
    for row in rows:
        cells = [f"<td{' class=number' * (column in numbers)}>{escape(cell)}</td>" for column, cell in enumerate(row)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = f"<tr>{top}</tr>\n" if any(heading) else ""
    return f"<table>\n{head}" + "\n".join(lines) + "\n</table>\n"


def picture(content: bytes, caption: str) -> str:
    """A PNG picture, inside the page, with its caption."""
    encoded = base64.b64encode(content).decode("ascii")
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{encoded}"><figcaption>{escape(caption)}</figcaption></figure>\n'


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches. Not through pyplot: no window, no display and no global list of figures is needed."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def png(drawn: Figure) -> bytes:
    """A figure as a PNG file."""
    target = io.BytesIO()
    # Matplotlib would write its own address into the file.
    drawn.savefig(target, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return target.getvalue()
