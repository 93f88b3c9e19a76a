"""`latentgate demo`: the whole way from a recording to a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentgate.cli.shared import DONE, Stages, add_command, add_precision, prepare_jax, seed, show

if TYPE_CHECKING:
    from latentgate.demonstration import Demonstration


def add(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "demo",
        "fit a one-hot HMM-GLM to a recording and write a report with pictures",
        "Fits a one-state GLM, an HMM-GLM and a one-hot HMM-GLM by EM, decodes the states, scores held-out trials, writes report.html.",
        run,
    )
    parser.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="folder of the report (default: %(default)s)")
    parser.add_argument("--recording", metavar="NAME", help="name or file of a recording (default: rat_insula if it can be had, else simulated_insula)")
    parser.add_argument("--seed", type=seed, default=0, help="of starting points and permutations (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="fewer neurons, restarts and iterations: to see that everything works, not for results")
    parser.add_argument("--pictures", action="store_true", help="also write the pictures as PNG files")
    add_precision(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    tell = Stages()
    prepare_jax(float64=options.float64)
    # A folder that cannot be written to should be known before minutes of work, not after.
    options.out.mkdir(parents=True, exist_ok=True)

    import latentgate.demonstration as demonstration

    settings = demonstration.QUICK if options.quick else demonstration.Settings()
    found = demonstration.demonstrate(options.recording, settings, options.seed, tell)
    tell("drawing")
    path = demonstration.write_report(found, options.out, pictures=options.pictures)
    tell("done")
    lines = [demonstration.held_out_sentence(found), demonstration.occupancy_sentence(found), f"report: {path}"]
    show(options, _numbers(found, path, tell.all), lines)
    return DONE


def _numbers(demonstration: Demonstration, path: Path, seconds: float) -> dict[str, Any]:
    from latentgate.cli.outcomes import restarts
    from latentgate.demonstration import ONE_HOT, ONE_STATE
    from latentgate.environment import precision, versions

    scores, origin = demonstration.scores, demonstration.origin
    return {
        "report": str(path),
        "recording": {"name": origin.name, "file": str(origin.path), "reason": origin.reason, "simulated": origin.simulated},
        "num_trials": demonstration.data.num_sequences,
        "num_held_out": len(demonstration.test),
        "num_neurons": demonstration.data.num_features,
        "num_states": demonstration.settings.num_states,
        "bits_per_spike": {model: scores.bits_per_spike(model) for model in scores.log_likelihood},
        "trials_better_than_one_state": scores.num_better(ONE_HOT, ONE_STATE),
        "state_accuracy": demonstration.accuracy,
        "occupancy": {name: {"p": test.p_value, "means": test.means.tolist()} for name, test in demonstration.tests.items()},
        "restarts": {model: restarts(fitted) for model, fitted in demonstration.fits.items()},
        "seed": demonstration.seed,
        "precision": precision(),
        "seconds": {**demonstration.seconds, "all": seconds},
        "versions": versions(),
    }
