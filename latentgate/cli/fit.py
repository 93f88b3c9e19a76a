"""`latentgate fit`: one model, one recording, one engine, one file."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentgate.cli import record
from latentgate.cli.models import KINDS, Choices, build, check
from latentgate.cli.outcomes import restarts
from latentgate.cli.shared import (
    DONE,
    EXIT_CODES,
    INTERRUPTED,
    Stages,
    WrongArguments,
    add_command,
    add_precision,
    add_recording,
    fraction,
    path_with,
    positive,
    prepare_jax,
    read_recording,
    require_folder_of,
    seed,
    show,
)

if TYPE_CHECKING:
    from latentgate.data import Sequences
    from latentgate.inference import Fit
    from latentgate.inference.engine import Engine

# Without a limit of one's own EM goes on until it has converged, or 500 iterations.
_DESCRIPTION = "Fits a model to a recording and writes the fit to a netCDF file, which `latentgate decode`, `latentgate report` and lg.Fit.load read."


def add(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(commands, "fit", "fit a model to a recording", _DESCRIPTION, run)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = "\n".join(f"  {name:<26}{kind.purpose}" for name, kind in KINDS.items())
    parser.epilog = f"models:\n{names}\n\n{textwrap.fill(EXIT_CODES, 100)}"
    add_recording(parser, "recording")
    parser.add_argument("--model", required=True, choices=KINDS, metavar="MODEL", help="one of the models below")
    parser.add_argument("--out", required=True, type=path_with(".nc"), metavar="FILE.nc", help="file of the fit")
    model = parser.add_argument_group("model")
    model.add_argument("--states", type=positive, metavar="K", help="hidden states, or experts")
    model.add_argument("--latents", type=positive, metavar="D", help="dimensions of the latents")
    model.add_argument("--history", type=positive, metavar="STEPS", help="window of the spike history (default: 5 where the model has one)")
    model.add_argument("--inputs", metavar="NAME", help="set of inputs (default: the only one, where the model needs one)")
    model.add_argument("--jumps", type=_jumps, metavar="0-1,1-2", help="jumps that are allowed, of jump-process (default: all)")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", choices=("em", "map", "svi", "nuts", "amortised"), help="default: em; amortised for langevin-flow")
    engine.add_argument("--restarts", type=positive, metavar="N", help="starting points (em, map; default 5), or chains (nuts; default 4)")
    engine.add_argument("--iterations", type=positive, metavar="N", help="limit of iterations (em, map, svi), draws of a chain (nuts), epochs (amortised)")
    engine.add_argument("--seed", type=seed, default=0, help="of starting points, held-out sequences and draws (default: %(default)s)")
    engine.add_argument("--held-out", type=fraction, metavar="FRACTION", help="share of the sequences to hold out and score")
    engine.add_argument("--checkpoint", type=Path, metavar="DIR", help="keep the run in this folder; the same command goes on where it ended")
    engine.add_argument("--quiet", action="store_true", help="no progress on standard error")
    add_precision(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    choices = Choices(options.states, options.latents, options.history, options.inputs, options.jumps)
    check(options.model, choices)
    kind = KINDS[options.model]
    name = options.engine or kind.engine
    _check_engine(options, name)
    require_folder_of(options.out)
    tell = Stages(options.quiet)
    prepare_jax(float64=options.float64)

    import latentgate as lg

    tell(f"reading {options.recording}", "reading")
    data = read_recording(options)
    tell(f"{data}", "fitting")
    model = build(options.model, data, choices)
    engine = _engine(options, name)
    train, test = data, None
    if options.held_out is not None:
        train, test = data.split(1 - options.held_out, options.seed)
    progress = False if options.quiet else None
    start = None
    if kind.first is not None:
        tell("fitting the simpler model that the fit starts from (compiles first)", "fitting")
        start = lg.fit(kind.first(data, choices), train, engine, seed=options.seed, progress=progress, checkpoint=_stage(options.checkpoint, "first"))
    if start is None or start.outcome is not lg.Outcome.INTERRUPTED:
        tell(f"fitting {options.model} by {engine} (compiles first)", "fitting")
        fit = lg.fit(model, train, engine, seed=options.seed, start=start, progress=progress, checkpoint=_stage(options.checkpoint, "fit"))
    else:
        raise KeyboardInterrupt
    tell("scoring and writing", "scoring")
    held_out = None if test is None or fit.outcome is lg.Outcome.INTERRUPTED else _held_out(fit, train, test, kind.counts)
    facts = _facts(options, name, data, fit, held_out)
    record.save(fit, options.out, facts)
    tell("done")
    facts["seconds"] = {**tell.seconds, "all": tell.all}
    show(options, facts, _lines(facts))
    return INTERRUPTED if fit.outcome is lg.Outcome.INTERRUPTED else DONE


def _stage(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _check_engine(options: argparse.Namespace, name: str) -> None:
    known = KINDS[options.model].engines
    if name not in known:
        raise WrongArguments(f"--engine: found {name!r} with {options.model}, expected {' or '.join(known)}.")
    if options.restarts is not None and name in ("svi", "amortised"):
        raise WrongArguments(f"--restarts: the engine {name} has one starting point; leave it out.")


def _engine(options: argparse.Namespace, name: str) -> Engine:
    import latentgate as lg

    limit = {} if options.iterations is None else {"max_iterations": options.iterations}
    if name in ("em", "map"):
        return (lg.EM if name == "em" else lg.MAP)(restarts=options.restarts or 5, **limit)
    if name == "svi":
        return lg.SVI(**limit)
    if name == "nuts":
        draws = {} if options.iterations is None else {"draws": options.iterations, "warmup": options.iterations}
        return lg.NUTS(chains=options.restarts or 4, **draws)
    return lg.AmortisedSVI(**({} if options.iterations is None else {"max_epochs": options.iterations}))


def _jumps(text: str) -> tuple[tuple[int, int], ...]:
    pairs = [pair.split("-") for pair in text.split(",")]
    if any(len(pair) != 2 or not all(state.strip().isdecimal() for state in pair) for pair in pairs):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected pairs of states such as 0-1,1-2")
    return tuple((int(origin), int(target)) for origin, target in pairs)


def _held_out(fit: Fit, train: Sequences, test: Sequences, counts: bool) -> dict[str, Any]:
    total = float(fit.log_likelihood(test).sum())
    return {
        "num_sequences": test.num_sequences,
        "log_likelihood": total,
        "log_likelihood_per_step": total / test.num_steps,
        "bits_per_spike": fit.bits_per_spike(test, train) if counts else None,
    }


def _facts(options: argparse.Namespace, engine: str, data: Sequences, fit: Fit, held_out: dict[str, Any] | None) -> dict[str, Any]:
    from latentgate.environment import precision, versions

    return {
        "fit": str(options.out),
        "model": options.model,
        "purpose": KINDS[options.model].purpose,
        "recording": {"name": options.recording, "options": dict(options.reader_options), "content": repr(data)},
        "engine": engine,
        "settings": fit.engine,
        "seed": fit.seed,
        "outcome": fit.outcome.name,
        "outcome_sentence": fit.outcome.value,
        "converged": fit.converged,
        "log_joint": max(map(float, fit.log_joint_history), default=None),
        "log_likelihood": float(fit.log_likelihood_history[-1]) if len(fit.log_likelihood_history) else None,
        "num_parameters": fit.num_parameters,
        "restarts": restarts(fit),
        "held_out": held_out,
        "precision": precision(),
        "versions": versions(),
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['model']} of {facts['recording']['name']}: {facts['num_parameters']} parameters, by {facts['settings']}"]
    remedy = " Here: --iterations N." if facts["outcome"] == "ITERATION_LIMIT" else ""
    lines.append(facts["outcome_sentence"] + remedy)
    if facts["log_likelihood"] is not None:
        lines.append(f"log-likelihood {facts['log_likelihood']:.2f}, log-joint {facts['log_joint']:.2f}")
    if facts["held_out"] is not None:
        lines.append(record.held_out_sentence(facts["held_out"]))
    return [*lines, f"fit: {facts['fit']}"]
