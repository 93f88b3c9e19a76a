"""A page loads what lies beside it and nothing else: scripts from elsewhere are taken out, and what the theme's own would fetch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# The theme draws Mermaid diagrams with a script from a public host; the book has no such diagrams.
FETCHED = re.compile(r"https?://[\w.@/-]+\.(?:m?js|css|woff2?)\b")
# Of what a script was made, for those who debug it.
SOURCE_MAP = re.compile(r"\n?(//|/\*)# sourceMappingURL=.*$", re.MULTILINE)
# The converter of notebooks adds MathJax; equations are MathML here.
SCRIPT = re.compile(r'<script[^>]*\bsrc="https?://[^>]*>\s*</script>')


def on_post_page(text: str, **_: Any) -> str:
    """mkdocs: the HTML of a page is ready."""
    return SCRIPT.sub("", text)


def on_post_build(config: Any, **_: Any) -> None:
    """mkdocs: the site is written."""
    for pattern in ("*.js", "*.css"):
        for path in Path(config["site_dir"], "assets").rglob(pattern):
            text = path.read_text(encoding="utf-8")
            path.write_text(SOURCE_MAP.sub("", FETCHED.sub("", text)), encoding="utf-8")
    for path in Path(config["site_dir"], "assets").rglob("*.map"):
        path.unlink()
