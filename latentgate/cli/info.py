"""`latentgate info`: what is here, and what the first call costs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from latentgate.cli.shared import DONE, Stages, add_command, prepare_jax, show

_DESCRIPTION = "Shows versions, devices, precision, the cache of compiled programs, optional extras and recordings."


def add(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(commands, "info", "show versions, devices, precision, compiled programs, extras and recordings", _DESCRIPTION, run)
    parser.add_argument("--timings", action="store_true", help="also measure imports and first calls, in fresh processes; takes about half a minute")


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    prepare_jax()

    from latentgate.cli import first_calls
    from latentgate.compilation import cache_state
    from latentgate.data import RECORDINGS
    from latentgate.environment import devices, extras, precision, versions

    state = cache_state()
    folder = Path(state["folder"])
    if options.timings:
        Stages()("measuring imports and first calls")
        timings = first_calls.measure(folder if state["on"] else None)
    else:
        timings = first_calls.last(folder)
    facts: dict[str, Any] = {
        "versions": versions(),
        "devices": devices(),
        "cores": os.cpu_count(),
        "precision": precision(),
        "compiled_programs": state,
        "timings": timings,
        "extras": extras(),
        "recordings": {name: where(name) for name in RECORDINGS},
    }
    show(options, facts, _lines(facts))
    return DONE


def where(name: str) -> str:
    """Where a recording is, or why it is not here."""
    from latentgate.data import RecordingUnavailable, recordings

    try:
        return str(recordings.find(name, download=False))
    except (RecordingUnavailable, ValueError) as error:
        return f"not here: {error}"


def _lines(facts: dict[str, Any]) -> list[str]:
    state, timings = facts["compiled_programs"], facts["timings"]
    lines = [
        "versions:   " + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()),
        "devices:    " + "; ".join(facts["devices"]) + f" ({facts['cores']} cores)",
        f"precision:  {facts['precision']} (float64: set JAX_ENABLE_X64=1, or --float64)",
        f"compiled:   {'kept in' if state['on'] else 'not kept; the folder would be'} {state['folder']}: {state['entries']} programs, {state['megabytes']} MB",
    ]
    if timings is None:
        lines.append("first call: not measured yet: latentgate info --timings")
    else:
        seconds = [f"{what} {value:.2f} s" for what, value in timings["imports"].items()]
        seconds += [
            f"{what} {timings[what]['first']:.2f} s, second call {timings[what]['second']:.3f} s"
            for what in ("small fit", "small fit, compiled before")
            if what in timings
        ]
        lines += [f"first call: {text}" for text in seconds]
        lines.append(f"first call: measured {timings['measured']} under a load of {timings['load_average']}; latentgate info --timings measures anew")
    for name, extra in facts["extras"].items():
        lines.append(f"extra:      {name}, {extra['for']}: {'installed' if extra['installed'] else extra['command']}")
    return [*lines, *(f"recording:  {name}: {_shortly(name, found)}" for name, found in facts["recordings"].items())]


def _shortly(name: str, found: str) -> str:
    """In a line; the whole reason is in the JSON, and in what `lg.load` says."""
    from latentgate.data import RECORDINGS

    if not found.startswith("not here"):
        return found
    made = any(file.conversion is not None for file in RECORDINGS[name].files)
    return f"not here; {'its file is made by hand, lg.load says how' if made else 'it is downloaded when it is first used'}"
