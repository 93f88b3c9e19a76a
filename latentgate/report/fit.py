"""The report of one fit: what the model is, how it ended, its parameters; with data, what it says of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.environment import machine, versions
from latentgate.files import replaced_in_one_step
from latentgate.inference import Fit
from latentgate.report.fit_pictures import pictures_of
from latentgate.report.page import answer, paragraphs, picture, table, whole_page

if TYPE_CHECKING:
    import pandas as pd

    from latentgate.data import Sequences

# A page is for reading; all entries are in the file of the fit.
_MOST_ROWS = 60
RESTARTS = ("restart", "iterations", "log-joint (nats)", "outcome")
_DIMENSIONS = ("state", "latent", "neuron", "feature", "input", "expert")


def write_fit_report(
    fit: Fit,
    path: str | os.PathLike[str],
    *,
    data: Sequences | None = None,
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
    held_out: Iterable[str] = (),
) -> Path:
    """Writes one HTML page, with its pictures inside.

    Args:
        fit: what to report.
        path: of the page.
        data: sequences whose states or latents are shown; they need not be those of the fit.
        title: of the page; the kind of the model if None.
        facts: {what: text} of where the fit comes from, shown with the model.
        held_out: sentences on sequences that the fit has not seen.

    Returns:
        the path.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if the data do not belong to the model.

    Example:
        >>> import pathlib, tempfile, latentgate as lg
        >>> data = lg.load("simulated_insula")
        >>> fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(data.num_features)), data, lg.EM(max_iterations=3), seed=0)
        >>> write_fit_report(fit, pathlib.Path(tempfile.mkdtemp()) / "report.html", data=data).name
        'report.html'
    """
    path = Path(path)
    drawn = pictures_of(fit, data)
    told = list(held_out)
    sections = (
        ("Answer", answer([fit.outcome.value, f"{_how_it_went(fit)}.", *told])),
        ("Model and engine", _model(fit, facts or {})),
        ("Data", "" if data is None else _data(fit, data)),
        *((heading, "".join(picture(content, caption) for content, caption in group)) for heading, group in drawn.items()),
        ("Parameters", _parameters(fit, data)),
        ("How every restart ended", table(RESTARTS, restart_rows(fit), numbers=(1, 2)) if fit.restarts else ""),
        ("Versions and machine of this report", _circumstances()),
    )
    with replaced_in_one_step(path) as partial:
        partial.write_text(whole_page(title or f"Fit of {type(fit.model).__name__}", sections), encoding="utf-8")
    return path


def restart_rows(fit: Fit) -> list[tuple[str, str, str, str]]:
    """Rows of a table of all restarts, under the heading `RESTARTS`."""
    rows = []
    for index, record in enumerate(fit.restarts):
        kept = " (kept)" if index == fit.best_restart else ""
        best = np.nanmax(record.log_joint_history, initial=-np.inf)
        rows.append((f"{index}{kept}", f"{len(record.log_joint_history)}", f"{best:.1f}", record.outcome.value))
    return rows


def _how_it_went(fit: Fit) -> str:
    return repr(fit).splitlines()[2].strip()


def _model(fit: Fit, facts: Mapping[str, str]) -> str:
    sizes: dict[str, int] = {}
    for name, dims in fit.model.dims().items():
        for dim, size in zip(dims, np.shape(fit.params[name]), strict=True):
            if dim in _DIMENSIONS:
                sizes[dim] = size
    rows = [("model", f"{type(fit.model).__name__} of {' and '.join(_parts(fit.model)) or 'its own parts'}"), *facts.items()]
    if sizes:
        rows.append(("sizes", ", ".join(f"{size} {dim}{'s' * (size != 1)}" for dim, size in sizes.items())))
    rows += [("free parameters", f"{fit.num_parameters}"), ("engine", fit.engine), ("seed", f"{fit.seed}")]
    return table(("", ""), [(str(name), str(text)) for name, text in rows])


def _parts(model: Any) -> list[str]:
    parts = ((name, getattr(model, name, None)) for name in ("emission", "transition", "gate", "experts", "dynamics", "potential", "guide"))
    return [f"{name} {type(part).__name__}" for name, part in parts if part is not None]


def _data(fit: Fit, data: Sequences) -> str:
    per_sequence = np.asarray(fit.log_likelihood(data))
    steps = np.asarray(data.lengths, float)
    rows = [
        ("sequences", repr(data)),
        ("log-likelihood", f"{per_sequence.sum():.2f} nats, {per_sequence.sum() / steps.sum():.4f} a step"),
        ("worst sequence", f"number {int(np.argmin(per_sequence / steps))}: {(per_sequence / steps).min():.4f} nats a step"),
    ]
    return table(("", ""), rows)


def _parameters(fit: Fit, data: Sequences | None) -> str:
    shapes = []
    dims = fit.model.dims()
    for name, value in fit.params.items():
        if name.startswith("guide."):
            continue
        entries = np.asarray(value, float)
        cells = (entries.min(), np.median(entries), entries.max()) if entries.size else (np.nan,) * 3
        shape = ", ".join(f"{dim} {size}" for dim, size in zip(dims[name], entries.shape, strict=True)) or "one number"
        shapes.append((name, shape, *(f"{cell:.4g}" for cell in cells)))
    frame = fit.summary(data if fit.posterior is None and "initial.probs" in fit.params else None)
    return table(("parameter", "shape", "smallest", "median", "largest"), shapes, numbers=(2, 3, 4)) + _frame(frame)


def _frame(frame: pd.DataFrame) -> str:
    shown = frame.head(_MOST_ROWS)
    heading = (str(frame.index.name or ""), *(str(column).replace("_", " ") for column in frame.columns))
    rows = [(str(index), *(_cell(entry) for entry in row)) for index, row in zip(shown.index, shown.itertuples(index=False), strict=True)]
    note = [] if len(frame) <= _MOST_ROWS else [f"The first {_MOST_ROWS} of {len(frame)} rows; the file of the fit has all."]
    return table(heading, rows, numbers=tuple(range(1, len(heading)))) + paragraphs(note)


def _cell(entry: Any) -> str:
    return f"{entry:.4g}" if isinstance(entry, float | np.floating) else str(entry)


def _circumstances() -> str:
    return table(("", ""), [("machine", machine()), ("versions", ", ".join(f"{name} {number}" for name, number in versions().items()))])
