"""`latentgate report`: one HTML page on a fit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latentgate.cli import record
from latentgate.cli.shared import DONE, Stages, add_command, add_precision, add_recording, path_with, prepare_jax, read_recording, require_folder_of, show


def add(commands: Any) -> None:
    """Adds the command."""
    description = (
        "Writes one self-contained HTML page: what the model is, how the fit ended, its parameters, all restarts; with data, what it says of their states "
        "or latents."
    )
    parser = add_command(commands, "report", "write an HTML report of a fit", description, run)
    parser.add_argument("fit", type=Path, metavar="FIT.nc", help="file of the fit")
    add_recording(parser, "--data", dest="recording")
    parser.add_argument("--out", required=True, type=path_with(".html"), metavar="FILE.html", help="page to write")
    add_precision(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    tell = Stages()
    require_folder_of(options.out)
    prepare_jax(float64=options.float64)

    from latentgate.inference import Fit

    fit, known = Fit.load(options.fit), record.load(options.fit)
    data = None
    if options.recording is not None:
        tell(f"reading {options.recording}")
        data = read_recording(options)
    tell("decoding and drawing (compiles first)" if data is not None else "drawing")

    from latentgate.report import write_fit_report

    facts = {}
    if known:
        facts = {"asked for as": f"{known['model']}: {known['purpose']}", "fitted to": f"{known['recording']['name']}: {known['recording']['content']}"}
    held_out = [record.held_out_sentence(known["held_out"])] if known.get("held_out") else []
    title = f"{known['model']} of {known['recording']['name']}" if known else None
    path = write_fit_report(fit, options.out, data=data, title=title, facts=facts, held_out=held_out)
    tell("done")
    told = {"report": str(path), "fit": str(options.fit), "data": options.recording, "outcome": fit.outcome.name, "held_out": known.get("held_out")}
    show(options, {**told, "seconds": tell.all}, [fit.outcome.value, *held_out, f"report: {path}"])
    return DONE
