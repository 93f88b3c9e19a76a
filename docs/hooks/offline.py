"""A page loads what lies beside it and nothing else: addresses that the theme would fetch programs from are taken out of its script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

# The theme draws Mermaid diagrams with a script from a public host; the book has no such diagrams.
FETCHED = re.compile(r"https?://unpkg\.com/[\w.@/-]*")
# Public icons and sources that the theme's maps of its own scripts speak of.
SOURCE_MAP = re.compile(r"\n?(//|/\*)# sourceMappingURL=.*$", re.MULTILINE)


def on_post_build(config: Any, **_: Any) -> None:
    """mkdocs: the site is written."""
    for pattern in ("*.js", "*.css"):
        for path in Path(config["site_dir"], "assets").rglob(pattern):
            text = path.read_text(encoding="utf-8")
            path.write_text(SOURCE_MAP.sub("", FETCHED.sub("", text)), encoding="utf-8")
    for path in Path(config["site_dir"], "assets").rglob("*.map"):
        path.unlink()
