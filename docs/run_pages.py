"""The examples of the book run as they are printed; the picture that a page ends with is written to docs/images/pages.

    python docs/run_pages.py [PAGE ...]

A page is a Markdown file of this folder; its python blocks share one namespace and run in order. Examples are fixed by their seeds.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import jax
from matplotlib import pyplot
from matplotlib.figure import Figure
from PIL import Image

BOOK = Path(__file__).resolve().parent
PICTURES = BOOK / "images" / "pages"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"\]\([./]*images/pages/([\w-]+)\.png\)")
DOTS_PER_INCH = 80
COLOURS = 64


def blocks(page: Path) -> list[str]:
    """The python blocks of a page, in order."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def pages() -> list[Path]:
    """The pages that have examples."""
    return sorted(page for page in BOOK.rglob("*.md") if blocks(page))


def run(page: Path) -> Figure | None:
    """Runs the blocks of a page in an empty folder, and leaves JAX as it was.

    Args:
        page: a Markdown file.

    Returns:
        the figure that was drawn last, or None.
    """
    pyplot.close("all")
    double, folder, here = jax.config.jax_enable_x64, tempfile.TemporaryDirectory(), Path.cwd()
    names: dict[str, object] = {"__name__": page.stem}
    try:
        os.chdir(folder.name)
        for number, code in enumerate(blocks(page)):
            exec(compile(code, f"{page.name}, block {number + 1}", "exec"), names)
    finally:
        os.chdir(here)
        folder.cleanup()
        jax.config.update("jax_enable_x64", double)
    return pyplot.gcf() if pyplot.get_fignums() else None


def save(figure: Figure, path: Path) -> None:
    """Writes a small picture: few colours are enough for lines and areas."""
    written = io.BytesIO()
    figure.savefig(written, dpi=DOTS_PER_INCH, bbox_inches="tight")
    Image.open(written).convert("RGB").quantize(COLOURS).save(path, optimize=True)


def main(wanted: list[str]) -> None:
    """Runs pages, all of them if none is named, and saves their pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    for page in pages():
        if wanted and page.stem not in wanted:
            continue
        began = time.perf_counter()
        print(f"--- {page.relative_to(BOOK)}", flush=True)
        figure, shown = run(page), PICTURE.findall(page.read_text(encoding="utf-8"))
        if shown:
            if figure is None or len(shown) > 1:
                raise ValueError(f"{page.name}: found the pictures {shown} and {'a' if figure else 'no'} figure, expected one of each.")
            save(figure, PICTURES / f"{shown[0]}.png")
        print(f"--- {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
