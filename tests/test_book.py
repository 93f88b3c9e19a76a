"""The book: its examples run as they are printed, it builds, and what it says of the package is so."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import latentgate as lg

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "docs"
LARGEST_PICTURE = 80_000
HEADING = re.compile(r'<h[1-4] [^>]*class="doc doc-heading"[^>]*>\s*([\w.]+)')
FETCHED = re.compile(r"https?://[\w.@/-]+\.(?:m?js|css|woff2?)\b")


def _runner():
    specification = importlib.util.spec_from_file_location("run_pages", BOOK / "run_pages.py")
    assert specification is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


run_pages = _runner()
PAGES = [page for page in BOOK.rglob("*.md") if run_pages.blocks(page)]
TEXTS = {page: page.read_text(encoding="utf-8") for page in sorted(BOOK.rglob("*.md"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples_run(page):
    from matplotlib import pyplot

    figure = run_pages.run(page)
    shown = run_pages.PICTURE.findall(TEXTS[page])
    assert len(shown) <= 1
    assert not shown or (figure is not None and figure.axes)
    pyplot.close("all")


def test_pictures_are_there_and_small():
    pictures = [page.parent / path for page, text in TEXTS.items() for path in re.findall(r"!\[[^\]]+\]\(([^)]+\.png)\)", text)]
    assert len(pictures) >= 8
    for picture in pictures:
        assert 2_000 < picture.stat().st_size < LARGEST_PICTURE, picture


def test_examples_of_families_are_short():
    for page in (BOOK / "families").glob("*.md"):
        (code,) = run_pages.blocks(page)
        assert len([line for line in code.splitlines() if line.strip()]) <= 25, page


def test_files_that_are_named_exist():
    named = {
        path
        for text in TEXTS.values()
        for path in re.findall(r"\b((?:benchmarks|docs|latentgate|notebooks|tests)/[\w./-]*\w)", text)
        if not path.startswith("latentgate/info")
    }
    assert len(named) > 15
    for path in named:
        assert (ROOT / path).exists(), path


def test_notebooks_that_are_named_exist():
    for text in TEXTS.values():
        for line in re.findall(r"[^.:]*\bnotebook `(\w+)`", text):
            assert (ROOT / "notebooks" / f"{line}.ipynb").exists(), line


def test_names_of_the_package_exist():
    """Everything written as `lg.a.b` in the prose and in tables."""
    spoken = {name for text in TEXTS.values() for name in re.findall(r"\blg((?:\.[A-Za-z_]\w*)+)", text)}
    assert len(spoken) > 80
    for name in sorted(spoken):
        value = lg
        for part in name[1:].split("."):
            assert hasattr(value, part), f"lg{name}"
            value = getattr(value, part)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    return {page.relative_to(folder).as_posix(): page.read_text(encoding="utf-8") for page in folder.rglob("*.*") if page.suffix in (".html", ".js", ".css")}


def test_reference_has_every_public_name(site):
    overview = site["reference/index.html"]
    for name in lg.__all__:
        assert f"lg.{name}</code>" in overview, name
    headings = {found for path, text in site.items() if path.startswith("reference/") for found in HEADING.findall(text)}
    for name in lg._HOMES:
        assert any(heading.startswith("lg.") and heading.rpartition(".")[2] == name for heading in headings), name
    for module in lg._MODULES:
        for name in getattr(getattr(lg, module), "__all__", ()):
            assert f"lg.{module}.{name}" in headings


def test_every_outcome_is_on_its_page(site):
    said = html.unescape(re.sub(r"<[^>]+>", "", site["outcomes.html"]))
    for outcome in lg.Outcome:
        assert outcome.name in said
        assert outcome.value in said


def test_every_command_is_on_its_page(site):
    said = re.sub(r"<[^>]+>", "", site["command-line.html"])
    for name in ("demo", "fit", "decode", "report", "rates", "bench", "info"):
        assert f"usage: latentgate {name}" in said, name


def test_notebooks_are_in_the_book(site):
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert "data:image/png" in site[f"notebooks/{notebook.stem}.html"] or "<img" in site[f"notebooks/{notebook.stem}.html"]
        assert f"notebooks/{notebook.stem}.html" in site["index.html"]


def test_equations_are_mathml(site):
    for page, text in TEXTS.items():
        if "$$" in text:
            written = site[page.relative_to(BOOK).with_suffix(".html").as_posix()]
            assert "<math" in written, page
    for path, text in site.items():
        assert not path.endswith(".html") or "arithmatex" not in text, path


def test_nothing_is_fetched_from_elsewhere(site):
    """No script, style, font or picture of another host, in a page or in what its scripts and styles may ask for."""
    for path, text in site.items():
        found = FETCHED.search(text)
        assert found is None, f"{path}: {found and found[0]}"
        if path.endswith(".html"):
            loaded = re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"(https?:[^\"]+)|<link\b[^>]*\bhref=\"(https?:[^\"]+)", text)
            assert not loaded, f"{path}: {loaded[0]}"
