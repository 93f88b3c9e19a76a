"""The cases of `benchmarks/convergence.py`: one module each, with a function `run(options) -> list[str]` that returns the lines of its report.

A case says in its docstring what it simulates, which estimators it runs, and by which rule each line of the report is judged: before anything is looked at.
Progress goes to standard error, the report to the caller. Figures are written by `options.save_figure`, studies resume from `options.checkpoint_of(name)`.
"""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Case as it is called on the command line: module. Imported by name when asked for.
CASES = {
    "exact": "exact",
    "gaussian": "gaussian",
    "top-k": "top_k",
    "contaminated": "contaminated",
    "temperature": "temperature",
    "sigmoid": "sigmoid",
    "speed": "speed",
}


@dataclasses.dataclass(frozen=True)
class Options:
    """What a case is asked for.

    Attributes:
        quick: tiny sizes, to see that everything runs; judges nothing.
        checkpoint: folder where studies are kept while they run, or None.
        figures: folder for figures, or None for none.
        seed: of every study.
    """

    quick: bool = False
    checkpoint: Path | None = None
    figures: Path | None = None
    seed: int = 0

    def checkpoint_of(self, name: str) -> Path | None:
        """Folder for one study, or None: the `checkpoint` of `lg.studies.convergence_rates`."""
        if self.checkpoint is None:
            return None
        folder = self.checkpoint / (f"{name}-quick" if self.quick else name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save_figure(self, figure: Figure, name: str) -> list[str]:
        """Writes a figure as NAME.png where figures are wanted, closes it, and returns the line that says so."""
        from matplotlib import pyplot

        lines = []
        if self.figures is not None:
            self.figures.mkdir(parents=True, exist_ok=True)
            path = self.figures / f"{name}.png"
            figure.savefig(path, dpi=120, bbox_inches="tight")
            lines = [f"figure: {path}"]
        pyplot.close(figure)
        return lines


def load(case: str) -> Any:
    """The module of a case.

    Raises:
        ValueError: for an unknown case.
    """
    if case not in CASES:
        raise ValueError(f"case: found {case!r}, expected one of {', '.join(map(repr, CASES))}.")
    return importlib.import_module(f"{__name__}.{CASES[case]}")
