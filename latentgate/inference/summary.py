"""A fit in a table and in a few lines."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from latentgate.data import Sequences

if TYPE_CHECKING:
    from .fit import Fit
    from .posterior import Posterior


def frame(fit: Fit, data: Sequences | None) -> pd.DataFrame:
    """See `Fit.summary`."""
    attributes: dict[str, Any] = {"engine": fit.engine, "outcome": fit.outcome.value, "num_parameters": fit.num_parameters}
    if fit.posterior is not None:
        table = _of_draws(fit)
        attributes |= _diagnostics(fit.posterior)
    else:
        table = _of_states(fit, data) if "initial.probs" in fit.params else _of_entries(fit)
        attributes |= {"log_joint": float(np.nanmax(fit.log_joint_history)), "log_likelihood": float(fit.log_likelihood_history[-1])}
    table.attrs.update(attributes)
    return table


def _of_draws(fit: Fit) -> pd.DataFrame:
    import arviz

    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # R-hat of an entry that never varies is 0 / 0.
        warnings.simplefilter("ignore", RuntimeWarning)
        table = pd.DataFrame(arviz.summary(fit.to_arviz(log_likelihood=None)))
    return table.drop(index=list(_fixed_entries(fit) & set(table.index)))


def _diagnostics(posterior: Posterior) -> dict[str, Any]:
    return {
        "divergences": posterior.num_divergences,
        "label_switches": int(posterior.label_switches.sum()),
        "largest_rhat": posterior.largest_rhat(),
        "smallest_ess": posterior.smallest_ess(),
        "pareto_k": posterior.pareto_k,
    }


def _of_entries(fit: Fit) -> pd.DataFrame:
    fixed = _fixed_entries(fit)
    entries = {entry: value for name, array in fit.own_params.items() for index, value in np.ndenumerate(array) if (entry := _entry(name, index)) not in fixed}
    return pd.DataFrame({"value": entries}).rename_axis("parameter")


def _of_states(fit: Fit, data: Sequences | None) -> pd.DataFrame:
    columns = {"initial_probability": np.asarray(fit.params["initial.probs"])}
    num_states = len(columns["initial_probability"])
    probs = fit.params.get("transition.probs")
    if probs is not None and "transition.weights" not in fit.params:
        with np.errstate(divide="ignore"):
            columns["expected_stay_steps"] = 1 / (1 - np.diagonal(np.asarray(probs)))
    if data is not None:
        columns["occupancy"] = np.nanmean(np.asarray(fit.smooth(data)).reshape(-1, num_states), 0)
    return pd.DataFrame(columns, index=pd.RangeIndex(num_states, name="state"))


def _fixed_entries(fit: Fit) -> set[str]:
    """Names of entries that the structure of the model fixes at zero: rates off a graph, say."""
    patterns = {name: getattr(prior.support, "pattern", None) for name, prior in fit.priors().items()}
    return {_entry(name, index) for name, pattern in patterns.items() if pattern is not None for index in map(tuple, np.argwhere(~pattern.mask).tolist())}


def _entry(name: str, index: tuple[int, ...]) -> str:
    return f"{name}{list(index) if index else ''}"


def text(fit: Fit) -> str:
    """See `Fit.__repr__`."""
    shapes = ", ".join(f"{name} {tuple(np.shape(value))}" for name, value in fit.own_params.items())
    return f"Fit of {type(fit.model).__name__} by {fit.engine}\n  {fit.outcome.value}\n  {_how_it_went(fit)}, {fit.num_parameters} parameters\n  {shapes}"


def _how_it_went(fit: Fit) -> str:
    posterior = fit.posterior
    if posterior is None:
        last = f"log-joint {np.nanmax(fit.log_joint_history):.3f}, log-likelihood {fit.log_likelihood_history[-1]:.3f}"
        return f"{last}, {len(fit.log_joint_history)} iterations"
    drawn = f"{posterior.num_chains} x {posterior.num_draws} draws, {int(posterior.label_switches.sum())} label switches"
    if len(posterior.elbo):
        pareto_k = "unknown" if posterior.pareto_k is None else f"{posterior.pareto_k:.2f}"
        return f"{drawn}, ELBO {posterior.elbo[-1]:.1f} after {len(posterior.elbo)} iterations, Pareto k {pareto_k}"
    return (
        f"{drawn}, {posterior.num_divergences} divergences, largest R-hat {posterior.largest_rhat():.3f}, "
        f"smallest effective sample size {posterior.smallest_ess():.0f}"
    )
