"""Parts of pages that the program knows best are asked of it: `<!-- from code: NAME -->` in a page is replaced by what NAME gives."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import latentgate

ROOT = Path(__file__).resolve().parents[2]
# A line of the overview that begins with the name of a command.
COMMAND = re.compile(r"^    (\w+) ", re.MULTILINE)
MARK = re.compile(r"<!-- from code: (\w+) -->")


def outcomes() -> str:
    """Every way in which a fit may end, with its sentence."""
    rows = [f"| `{outcome.name}` | {outcome.value} | {'yes' if outcome.failed else ''} |" for outcome in latentgate.Outcome]
    return "\n".join(["| outcome | what the fit says | broke down |", "|---|---|---|", *rows])


def commands() -> str:
    """What each command says of itself."""

    def help_of(*command: str) -> str:
        asked = subprocess.run(
            [sys.executable, "-m", "latentgate", *command, "--help"],
            env={**os.environ, "COLUMNS": "110", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        return f"```text\n{asked.stdout.strip()}\n```\n"

    overview = help_of()
    return "\n".join([overview, *(f"## latentgate {name}\n\n{help_of(name)}" for name in COMMAND.findall(overview))])


def gallery() -> str:
    """Each picture of docs/gallery.py with the function that drew it."""
    source = (ROOT / "docs" / "gallery.py").read_text(encoding="utf-8")
    parts = []
    for name in latentgate.plotting.__all__:
        picture = ROOT / "docs" / "images" / "gallery" / f"{name}.png"
        if picture.exists():
            summary = (getattr(latentgate.plotting, name).__doc__ or "").split("\n")[0]
            drawn = next(node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
            code = textwrap.dedent(ast.get_source_segment(source, drawn) or "")
            parts.append(f"## {name}\n\n{summary}\n\n![{name}](images/gallery/{name}.png)\n\n```python\n{code}\n```\n")
    return "\n".join(parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs: the text of a page is read."""
    return MARK.sub(lambda found: globals()[found[1]](), markdown)
