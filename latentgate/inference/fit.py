"""What a fit leaves in the user's hands."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

import latentgate.metrics as metrics
from latentgate.data import Sequences
from latentgate.models import StateSpaceModel

from .alignment import match_params, permute_states
from .outcomes import Outcome


@dataclass(frozen=True)
class RestartRecord:
    """One restart of a fit.

    Attributes:
        params: its best parameters, states aligned to those of the best restart.
        log_joint_history: [iteration].
        log_likelihood_history: [iteration].
        outcome: how it ended.
    """

    params: dict[str, np.ndarray]
    log_joint_history: np.ndarray
    log_likelihood_history: np.ndarray
    outcome: Outcome


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted model: parameters, how they were found, and everything that can be asked of them.

    Attributes:
        model: the structure.
        params: {dotted name: array} in natural space.
        engine: the engine and its options, as text.
        seed: of the starting points.
        outcome: how the best restart ended; its value is a sentence.
        converged: whether the log-joint had settled.
        restarts: a record of every restart.
        best_restart: index of the one kept.
        feature_names: names of the observed features, or None.
    """

    model: StateSpaceModel
    params: dict[str, np.ndarray]
    engine: str
    seed: int
    outcome: Outcome
    converged: bool
    restarts: list[RestartRecord] = field(default_factory=list)
    best_restart: int = 0
    feature_names: tuple[str, ...] | None = None

    @property
    def log_joint_history(self) -> np.ndarray:
        """Log-joint of the best restart at every iteration, [iteration]."""
        return self.restarts[self.best_restart].log_joint_history

    @property
    def log_likelihood_history(self) -> np.ndarray:
        """Log-likelihood of the best restart at every iteration, [iteration]."""
        return self.restarts[self.best_restart].log_likelihood_history

    @property
    def num_parameters(self) -> int:
        """Free parameters: each probability vector has one fewer than it has entries."""
        return sum(_degrees_of_freedom(prior, self.params) for prior in _resolved_priors(self.model, self.params).items())

    def log_likelihood(self, data: Sequences) -> xr.DataArray:
        """Log-likelihood of each sequence, latents integrated out, dims (sequence).

        Raises:
            FloatingPointError: if the scaled recursion underflows.
        """
        self.model.check(data)
        values = np.asarray(self.model.log_likelihood(self._arrays, data))
        _require_no_underflow(values)
        return xr.DataArray(values, dims="sequence", name="log_likelihood")

    def smooth(self, data: Sequences) -> xr.DataArray:
        """State probabilities given all data, dims (sequence, time, state); NaN at padding."""
        self.model.check(data)
        result = self.model.smooth(self._arrays, data)
        _require_no_underflow(np.asarray(result.log_normaliser))
        return self._state_probabilities(result.marginals, data, "smoothed")

    def filter(self, data: Sequences) -> xr.DataArray:
        """State probabilities given the data up to each step, dims (sequence, time, state); NaN at padding."""
        self.model.check(data)
        result = self.model.filter(self._arrays, data)
        _require_no_underflow(np.asarray(result.log_normaliser))
        return self._state_probabilities(result.probs, data, "filtered")

    def most_probable_path(self, data: Sequences) -> xr.DataArray:
        """Most probable state at each step (Viterbi), dims (sequence, time); -1 at padding."""
        self.model.check(data)
        states = np.asarray(self.model.most_probable_path(self._arrays, data).states)
        return xr.DataArray(states, dims=("sequence", "time"), name="most_probable_path")

    def sample_latents(self, data: Sequences, num_samples: int, seed: int) -> xr.DataArray:
        """Exact posterior draws of the states, dims (draw, sequence, time); -1 at padding."""
        self.model.check(data)
        states = self.model.sample_latents(jax.random.key(seed), self._arrays, data, num_samples)
        return xr.DataArray(np.asarray(states), dims=("draw", "sequence", "time"), name="states")

    def simulate(self, lengths, seed: int, inputs: Any = None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws new sequences of the given lengths from the fitted model; returns them with their states."""
        return self.model.simulate(jax.random.key(seed), self._arrays, lengths, inputs)

    def bits_per_spike(self, data: Sequences, train: Sequences) -> float:
        """Gain over a homogeneous Poisson with the mean rates of `train`, in bits per spike of `data`."""
        return metrics.bits_per_spike(float(self.log_likelihood(data).sum()), data, metrics.mean_rates(train))

    def bic(self, data: Sequences) -> float:
        """Bayesian information criterion, number of parameters times log(steps) − 2 log-likelihood: smaller is better."""
        return self.num_parameters * float(np.log(data.num_steps)) - 2 * float(self.log_likelihood(data).sum())

    def aligned_to(self, other: Fit) -> Fit:
        """The same fit with its states renumbered to match those of `other`."""
        return self.with_states(match_params(other.params, self.params, self.model.dims()))

    def with_states(self, order) -> Fit:
        """The same fit with its states renumbered: new state k is old state order[k]."""
        dims = self.model.dims()
        order = np.asarray(order)
        restarts = [replace(record, params=permute_states(record.params, dims, order)) for record in self.restarts]
        return replace(self, params=permute_states(self.params, dims, order), restarts=restarts)

    def summary(self, data: Sequences | None = None) -> pd.DataFrame:
        """One row a state: initial probability, expected stay in steps where transitions are constant, occupancy of `data` if given.

        How the fit ended is in the frame's `attrs`.
        """
        columns = {"initial_probability": np.asarray(self.params["initial.probs"])}
        probs = self.params.get("transition.probs")
        if probs is not None and "transition.weights" not in self.params:
            stay = np.diagonal(np.asarray(probs))
            with np.errstate(divide="ignore"):
                columns["expected_stay_steps"] = 1 / (1 - stay)
        if data is not None:
            columns["occupancy"] = np.nanmean(self.smooth(data).values.reshape(-1, len(columns["initial_probability"])), 0)
        frame = pd.DataFrame(columns, index=pd.RangeIndex(len(columns["initial_probability"]), name="state"))
        frame.attrs = {
            "engine": self.engine,
            "outcome": self.outcome.value,
            "log_joint": float(np.nanmax(self.log_joint_history)),
            "log_likelihood": float(self.log_likelihood_history[-1]),
            "num_parameters": self.num_parameters,
        }
        return frame

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {tuple(np.shape(value))}" for name, value in self.params.items())
        return (
            f"Fit of {type(self.model).__name__} by {self.engine}\n"
            f"  {self.outcome.value}\n"
            f"  log-joint {np.nanmax(self.log_joint_history):.3f}, log-likelihood {self.log_likelihood_history[-1]:.3f}, "
            f"{len(self.log_joint_history)} iterations, {self.num_parameters} parameters\n"
            f"  {shapes}"
        )

    def to_xarray(self) -> xr.Dataset:
        """Parameters as labelled arrays, with the histories of every restart and what is needed to rebuild the fit in the attributes."""
        from latentgate.models.specification import to_specification

        dims = self.model.dims()
        variables: dict[str, Any] = {name: (dims[name], np.asarray(value)) for name, value in self.params.items()}
        for label in ("log_joint_history", "log_likelihood_history"):
            rows = [getattr(record, label) for record in self.restarts]
            longest = max((len(row) for row in rows), default=0)
            padded = [np.pad(row, (0, longest - len(row)), constant_values=np.nan) for row in rows]
            variables[label] = (("restart", "iteration"), np.array(padded).reshape(len(rows), longest))
        for name, value in self.params.items():
            stacked = np.stack([np.asarray(record.params[name]) for record in self.restarts]) if self.restarts else np.empty((0, *np.shape(value)))
            variables[f"restarts.{name}"] = (("restart", *dims[name]), stacked)
        attributes = {
            "format": _FORMAT,
            "model": json.dumps(to_specification(self.model)),
            "engine": self.engine,
            "seed": self.seed,
            "outcome": self.outcome.name,
            "converged": int(self.converged),
            "best_restart": self.best_restart,
            "restart_outcomes": json.dumps([record.outcome.name for record in self.restarts]),
            "feature_names": json.dumps(self.feature_names),
        }
        return xr.Dataset(variables, attrs=attributes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a netCDF file that opens with plain xarray and holds no code; replaced in one step, so never half-written.

        Returns:
            the path.
        """
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        self.to_xarray().to_netcdf(partial, engine="netcdf4")
        os.replace(partial, path)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Fit:
        """Reads a fit written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a complete fit of this library.
        """
        from latentgate.models.specification import from_specification

        path = Path(path)
        if not path.exists():
            raise FileNotFoundError(f"path: found no file {str(path)!r}, expected a fit written by Fit.save.")
        try:
            with xr.open_dataset(path, engine="netcdf4") as opened:
                stored = opened.load()
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"path: {str(path)!r} cannot be read as netCDF; it is truncated or not a fit. ({error})") from error
        if stored.attrs.get("format") != _FORMAT:
            raise ValueError(f"path: {str(path)!r} has format {stored.attrs.get('format')!r}, expected {_FORMAT!r} written by Fit.save.")
        try:
            model = from_specification(json.loads(stored.attrs["model"]))
            names = list(model.dims())
            outcomes = [Outcome[name] for name in json.loads(stored.attrs["restart_outcomes"])]
            records = [
                RestartRecord(
                    {name: stored[f"restarts.{name}"].values[index] for name in names},
                    _without_padding(stored["log_joint_history"].values[index]),
                    _without_padding(stored["log_likelihood_history"].values[index]),
                    outcome,
                )
                for index, outcome in enumerate(outcomes)
            ]
            feature_names = json.loads(stored.attrs["feature_names"])
            return cls(
                model=model,
                params={name: stored[name].values for name in names},
                engine=stored.attrs["engine"],
                seed=int(stored.attrs["seed"]),
                outcome=Outcome[stored.attrs["outcome"]],
                converged=bool(stored.attrs["converged"]),
                restarts=records,
                best_restart=int(stored.attrs["best_restart"]),
                feature_names=None if feature_names is None else tuple(feature_names),
            )
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"path: {str(path)!r} is not a complete fit; {error!r} is missing or damaged.") from error

    @property
    def _arrays(self) -> dict[str, jax.Array]:
        return {name: jnp.asarray(value) for name, value in self.params.items()}

    def _state_probabilities(self, values, data: Sequences, name: str) -> xr.DataArray:
        masked = np.where(np.asarray(data.mask)[..., None], np.asarray(values), np.nan)
        return xr.DataArray(masked, dims=("sequence", "time", "state"), name=name)


_FORMAT = "latentgate fit 1"


def _without_padding(history: np.ndarray) -> np.ndarray:
    return history[: int(np.max(np.flatnonzero(~np.isnan(history)), initial=-1)) + 1]


def _resolved_priors(model: StateSpaceModel, params: Mapping) -> dict:
    from latentgate.models.base import resolve

    return {name: resolve(prior, params) for name, prior in model.priors().items()}


def _degrees_of_freedom(prior: tuple[str, Any], params: Mapping[str, np.ndarray]) -> int:
    name, distribution = prior
    shape = np.shape(params[name])
    support = distribution.support
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    if type(support).__name__ == "_Simplex":
        return int(np.prod(shape[:-1])) * (shape[-1] - 1)
    if type(support).__name__ == "_PositiveDefinite":
        return int(np.prod(shape[:-2])) * shape[-1] * (shape[-1] + 1) // 2
    return int(np.prod(shape))


def _require_no_underflow(log_likelihood: np.ndarray) -> None:
    if np.isnan(log_likelihood).any():
        first = int(np.flatnonzero(np.isnan(log_likelihood))[0])
        raise FloatingPointError(f"log-likelihood of sequence {first} is NaN. {Outcome.UNDERFLOW.value}")
