"""Progress bars that know when to be silent."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Reporter(Protocol):
    """What an engine tells about itself between blocks."""

    def __call__(self, done: int, note: str) -> None:
        """`done` units of the total are finished; `note` is a short line beside the bar."""


def wanted(progress: bool | None) -> bool:
    """`progress` itself, or, if None, whether standard error is a terminal or a notebook is running that can show a bar."""
    if progress is not None:
        return progress
    # Without ipywidgets rich would leave a warning and an empty box in the notebook.
    return sys.stderr.isatty() or ("ipykernel" in sys.modules and importlib.util.find_spec("ipywidgets") is not None)


@contextmanager
def bar(title: str, total: int, progress: bool | None) -> Iterator[Reporter]:
    """A bar on standard error, or nothing."""
    if not wanted(progress):
        yield lambda done, note: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as display:
        task = display.add_task(title, total=total, note="")
        yield lambda done, note: display.update(task, completed=done, note=note)
