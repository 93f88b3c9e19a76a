"""The command `latentgate`: a demonstration, and what is installed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence as Many
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentgate.demonstration import Demonstration

DONE, FAILED, INTERRUPTED = 0, 1, 130
_EXIT_CODES = "exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments, 130 interrupted"


def main(arguments: Many[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        _tell("interrupted")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="latentgate", description="Latent dynamics from noisy sequences, on JAX.", epilog=_EXIT_CODES)
    commands = parser.add_subparsers(required=True, metavar="command")

    demo = commands.add_parser(
        "demo",
        help="fit a one-hot HMM-GLM to a recording and write a report with pictures",
        description="Fits a one-state GLM, an HMM-GLM and a one-hot HMM-GLM by EM, decodes the states, scores held-out trials, writes report.html.",
        epilog=_EXIT_CODES,
    )
    demo.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="folder of the report (default: %(default)s)")
    demo.add_argument("--recording", metavar="NAME", help="name or file of a recording (default: rat_insula if it can be had, else simulated_insula)")
    demo.add_argument("--seed", type=_seed, default=0, help="of starting points and permutations (default: %(default)s)")
    demo.add_argument("--quick", action="store_true", help="fewer neurons, restarts and iterations: to see that everything works, not for results")
    demo.add_argument("--pictures", action="store_true", help="also write the pictures as PNG files")
    demo.add_argument("--float64", action="store_true", help="compute in double precision, which takes about a third longer")
    demo.add_argument("--json", action="store_true", help="print the numbers as JSON on standard output")
    demo.set_defaults(run=_demo)

    info = commands.add_parser("info", help="show versions, devices, precision and recordings", epilog=_EXIT_CODES)
    info.add_argument("--json", action="store_true", help="print as JSON")
    info.set_defaults(run=_info)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0, 1, 2, ...")
    return int(text)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _demo(options: argparse.Namespace) -> int:
    start = time.perf_counter()
    import jax

    from latentgate.data import RecordingUnavailable
    from latentgate.demonstration import QUICK, Settings, demonstrate
    from latentgate.inference import NonFiniteLikelihoodError
    from latentgate.report import held_out_sentence, occupancy_sentence, write_report

    if options.float64:
        jax.config.update("jax_enable_x64", True)

    def tell(line: str) -> None:
        _tell(f"[{time.perf_counter() - start:4.0f} s] {line}")

    try:
        # A folder that cannot be written to should be known before minutes of work, not after.
        options.out.mkdir(parents=True, exist_ok=True)
        demonstration = demonstrate(options.recording, QUICK if options.quick else Settings(), options.seed, tell)
        tell("drawing")
        path = write_report(demonstration, options.out, pictures=options.pictures)
    except (RecordingUnavailable, NonFiniteLikelihoodError, OSError, ValueError) as error:
        _tell(f"latentgate demo: {error}")
        return FAILED
    tell("done")
    if options.json:
        print(json.dumps(_numbers(demonstration, path, time.perf_counter() - start), indent=2))
    else:
        print(held_out_sentence(demonstration))
        print(occupancy_sentence(demonstration))
        print(f"report: {path}")
    return DONE


def _numbers(demonstration: Demonstration, path: Path, seconds: float) -> dict[str, Any]:
    from latentgate.demonstration import ONE_HOT, ONE_STATE, precision
    from latentgate.report import versions

    scores, origin = demonstration.scores, demonstration.origin
    fits = demonstration.fits
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
        "restarts": {
            model: [
                {"outcome": record.outcome.name, "iterations": len(record.log_joint_history), "log_joint": float(max(record.log_joint_history))}
                for record in fitted.restarts
            ]
            for model, fitted in fits.items()
        },
        "seed": demonstration.seed,
        "precision": precision(),
        "seconds": {**demonstration.seconds, "all": seconds},
        "versions": versions(),
    }


def _info(options: argparse.Namespace) -> int:
    import jax

    from latentgate.data import RECORDINGS, RecordingUnavailable, recordings
    from latentgate.demonstration import precision
    from latentgate.report import versions

    found = {}
    for name in RECORDINGS:
        try:
            found[name] = str(recordings.find(name, download=False))
        except (RecordingUnavailable, ValueError) as error:
            found[name] = f"not here: {error}"
    facts: dict[str, Any] = {
        "versions": versions(),
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "cores": os.cpu_count(),
        "precision": precision(),
        "recordings": found,
    }
    if options.json:
        print(json.dumps(facts, indent=2))
        return DONE
    print("versions:   " + ", ".join(f"{name} {number}" for name, number in facts["versions"].items()))
    print("devices:    " + "; ".join(facts["devices"]) + f" ({facts['cores']} cores)")
    print(f"precision:  {facts['precision']} (float64: set JAX_ENABLE_X64=1, or `latentgate demo --float64`)")
    for name, where in found.items():
        print(f"recording:  {name}: {where}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
