"""How docstrings are read: an "Example:" is code, as the "Examples:" are that the parser knows, and what only says "See base." is left out."""

from __future__ import annotations

import re
from typing import Any

import griffe

REPEATED = re.compile(r"See (base|`[\w.]+`)\.")
HEADING = re.compile(r"^( *)Example:$", re.MULTILINE)


class Readings(griffe.Extension):
    """Changes every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """griffe: an object of the package was read."""
        if obj.docstring and REPEATED.fullmatch(obj.docstring.value):
            obj.docstring = None
        elif obj.docstring:
            obj.docstring.value = HEADING.sub(r"\1Examples:", obj.docstring.value)
