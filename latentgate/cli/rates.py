"""`latentgate rates`: how fast maximum likelihood finds a gate, as a study of about a minute."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentgate.cli.shared import DONE, Stages, WrongArguments, add_command, path_with, positive, prepare_jax, require_folder_of, seed, show

if TYPE_CHECKING:
    from latentgate.models import MixtureOfExperts
    from latentgate.studies import MixtureTruth, Study

_SIZES = (100, 316, 1000, 3162, 10_000)
# The experts of Nguyen, Nguyen and Ho 2023, and their softmax gate; the other gate changes over at about the same place.
_EXPERTS: dict[str, Any] = {"experts.weights": [[-20.0], [20.0]], "experts.bias": [15.0, -5.0], "experts.scale": [0.3, 0.4]}
_GATES: dict[str, dict[str, Any]] = {
    "softmax": {"gate.weights": [[25.0], [0.0]], "gate.bias": [-8.0, 0.0]},
    "gaussian": {"gate.probs": [0.6, 0.4], "gate.means": [[0.7], [0.2]], "gate.covariances": [[[0.02]], [[0.01]]]},
}
_DESCRIPTION = (
    "Draws data of increasing size from a gated mixture of two lines, fits it by maximum likelihood from near-truth starts (the papers' favour), and reports "
    "the slope of the Voronoi loss, which theory puts at -0.5, and of the other losses. Everything is computed in float64."
)


def add(commands: Any) -> None:
    """Adds the command."""
    parser = add_command(commands, "rates", "a study of convergence rates of a gate", _DESCRIPTION, run)
    parser.add_argument("--gate", choices=_GATES, default="softmax", help="default: %(default)s")
    parser.add_argument("--sizes", type=_sizes, default=_SIZES, metavar="N,N,...", help="sample sizes, increasing (default: 100,316,1000,3162,10000)")
    parser.add_argument("--replications", type=positive, default=20, metavar="N", help="data sets of each size (default: %(default)s)")
    parser.add_argument("--seed", type=seed, default=0, help="of data and starts (default: %(default)s)")
    parser.add_argument("--out", type=path_with(".png", ".pdf", ".svg"), metavar="FIGURE", help="also draw the rates, .png, .pdf or .svg")
    parser.add_argument("--checkpoint", type=Path, metavar="DIR", help="keep finished parts in this folder; the same command goes on where it ended")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    if options.replications < 2:
        raise WrongArguments("--replications: found 1, expected at least 2; a spread is measured over them.")
    if options.out is not None:
        require_folder_of(options.out)
    tell = Stages(options.quiet)
    prepare_jax()

    import latentgate.studies as studies

    tell(f"{options.gate} gate, {len(options.sizes)} sizes, {options.replications} replications (compiles first)")
    model, truth = model_and_truth(options.gate)
    study = studies.convergence_rates(
        truth=truth,
        estimators=studies.MaximumLikelihood("maximum likelihood", model, "near-truth"),
        sample_sizes=options.sizes,
        replications=options.replications,
        seed=options.seed,
        checkpoint=options.checkpoint,
        progress=False if options.quiet else None,
    )
    if options.out is not None:
        tell("drawing")
        _draw(study, options.out)
    tell("done")
    facts = {"gate": options.gate, "losses": _slopes(study), "sizes": list(options.sizes), "replications": options.replications, "seed": options.seed}
    facts |= {"start": "near-truth", "figure": None if options.out is None else str(options.out), "seconds": tell.all}
    show(options, facts, _lines(facts))
    return DONE


def model_and_truth(gate: str) -> tuple[MixtureOfExperts, MixtureTruth]:
    """The mixture of two lines under a gate, with flat priors, and its parameters."""
    import latentgate as lg
    from latentgate.studies import MixtureTruth

    gates: dict[str, Any] = {
        "softmax": lambda: lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat"),
        "gaussian": lambda: lg.gates.Gaussian(num_inputs=1, mean_prior="flat", covariance_prior="flat"),
    }
    experts = lg.experts.LinearGaussian(2, num_inputs=1, weight_prior="flat", bias_prior="flat", variance_prior="flat")
    model = lg.MixtureOfExperts(gate=gates[gate](), experts=experts)
    # A gate that models the inputs draws them too.
    return model, MixtureTruth(f"two lines, {gate} gate", model, {**_GATES[gate], **_EXPERTS}, "gate" if gate == "gaussian" else "grid")


def _sizes(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected integers such as 100,1000,10000")
    sizes = tuple(int(part) for part in parts)
    if len(sizes) < 2 or any(after <= before for before, after in itertools.pairwise(sizes)) or sizes[0] < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected at least two increasing sizes")
    return sizes


def _slopes(study: Study) -> dict[str, dict[str, Any]]:
    found = study.slopes(with_local=False).squeeze(("truth", "estimator"))
    results = study.results.squeeze(("truth", "estimator"))
    return {
        str(loss): {
            "slope": float(found.slope.sel(loss=loss)),
            "interval": found.slope_interval.sel(loss=loss).values.tolist(),
            "prefactor": float(found.prefactor.sel(loss=loss)),
            "mean": results[str(loss)].mean("replication").values.tolist(),
        }
        for loss in found["loss"].values
        # The gain in likelihood over the truth is about half the number of parameters whatever the size: no loss, no rate. A gate may not have every loss.
        if loss != "excess" and results[str(loss)].notnull().any()
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{'loss':<18}{'slope':>8}  {'95 % interval':<20}" + "".join(f"{'n = ' + str(size):>13}" for size in facts["sizes"])]
    for name, loss in facts["losses"].items():
        low, high = loss["interval"]
        lines.append(f"{name:<18}{loss['slope']:>8.3f}  {f'[{low:.3f}, {high:.3f}]':<20}" + "".join(f"{mean:>13.4g}" for mean in loss["mean"]))
    return lines if facts["figure"] is None else [*lines, f"figure: {facts['figure']}"]


def _draw(study: Study, path: Path) -> None:
    from latentgate.files import replaced_in_one_step
    from latentgate.report import new_figure

    figure = new_figure(6.4, 4.6)
    study.plot(ax=figure.subplots())
    with replaced_in_one_step(path) as partial:
        # Neither the address of the program nor the day: the same study, the same file.
        figure.savefig(partial, dpi=150, metadata={"Software": None} if path.suffix == ".png" else None)
