"""What a fit leaves in the user's hands."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from numpyro.distributions import Distribution, biject_to

import latentgate.metrics as metrics
from latentgate.arguments import described, key_of
from latentgate.data import Sequences
from latentgate.data.scaling import same_scales
from latentgate.kernels import Path as StatePath
from latentgate.models.base import resolve
from latentgate.models.observations import require_sequences

from . import averaging, storage
from .alignment import has_states, match_params, permute_states
from .outcomes import Outcome
from .posterior import Posterior

if TYPE_CHECKING:
    from .uncertainty import Uncertainty

# Draws that an average over the posterior takes unless told otherwise: its Monte Carlo error is then a fourteenth of the posterior spread.
AVERAGED_DRAWS = 200


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

    Where there are posterior draws (NUTS, SVI), `smooth`, `filter`, `log_likelihood` and `sample_latents` average over `draws` of them, evenly spaced
    (all of them if None), and `most_probable_path` and `simulate` use the posterior mean.

    Attributes:
        model: the structure.
        params: {dotted name: array} in natural space; posterior means where there are draws.
        engine: the engine and its options, as text.
        seed: of the starting points.
        outcome: how the best restart ended; its value is a sentence.
        converged: whether the log-joint had settled.
        restarts: a record of every restart.
        best_restart: index of the one kept.
        feature_names: names of the observed features, or None.
        data: the sequences it was fitted to; None after `load`, since a saved fit holds no data.
        posterior: draws, or None for a point estimate.
        traces: {name: array [epoch]} of what an engine measured while it ran, besides the log-joint.
        input_scales: {name of an input set: (centre [input], unit [input])} of the data it was fitted to, where inputs were standardised; data of other scales
            are refused.
    """

    model: Any
    params: dict[str, np.ndarray]
    engine: str
    seed: int
    outcome: Outcome
    converged: bool
    restarts: list[RestartRecord] = field(default_factory=list)
    best_restart: int = 0
    feature_names: tuple[str, ...] | None = None
    data: Sequences | None = field(default=None, compare=False)
    posterior: Posterior | None = None
    traces: dict[str, np.ndarray] = field(default_factory=dict)
    input_scales: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, compare=False)

    @property
    def log_joint_history(self) -> np.ndarray:
        """Log-joint of the best restart at every iteration, [iteration]; of the starting fit where there are draws, and empty if there was none."""
        return self.restarts[self.best_restart].log_joint_history if self.restarts else np.zeros(0)

    @property
    def log_likelihood_history(self) -> np.ndarray:
        """Log-likelihood of the best restart at every iteration, [iteration]; as `log_joint_history`."""
        return self.restarts[self.best_restart].log_likelihood_history if self.restarts else np.zeros(0)

    @property
    def num_parameters(self) -> int:
        """Free parameters: each probability vector has one fewer than it has entries; what is zero or tied by the model does not count, nor does a guide."""
        priors = self.priors()
        return sum(_degrees_of_freedom(priors[name], self.params[name]) for name in self.own_params)

    @property
    def own_params(self) -> dict[str, np.ndarray]:
        """Parameters of the model itself, without those of a guide, which only approximate its posterior."""
        return {name: value for name, value in self.params.items() if not name.startswith("guide.")}

    def priors(self) -> dict[str, Distribution]:
        """The prior of every parameter, as it is given the parameters that it depends on."""
        return {name: resolve(prior, self._arrays) for name, prior in self.model.priors().items()}

    def check(self, data: Sequences) -> None:
        """Raises ValueError, naming what is wrong, if the data cannot belong to the model, or their inputs are in other units than those it was fitted to."""
        self.model.check(data)
        if not same_scales(data.input_scales, self.input_scales):
            if not self.input_scales:
                raise ValueError("data: found standardised inputs, expected raw ones, to which the model was fitted; leave out data.standardized().")
            found = "standardised otherwise than" if data.input_scales else "not standardised as"
            raise ValueError(
                f"data: found inputs {found} those of the fit, expected the same units; pass data.standardized(like=train), with the data fitted to."
            )

    def log_likelihood(self, data: Sequences, draws: int | None = AVERAGED_DRAWS) -> xr.DataArray:
        """Log-likelihood of each sequence, latents integrated out, dims (sequence); the log of the mean likelihood where there are draws.

        Raises:
            FloatingPointError: if the scaled recursion underflows.
        """
        values = jnp.asarray(self.posterior_log_likelihoods(data, draws).values)
        return xr.DataArray(np.asarray(averaging.log_mean_exp(values)), dims="sequence", name="log_likelihood")

    def posterior_log_likelihoods(self, data: Sequences, draws: int | None = None) -> xr.DataArray:
        """Log-likelihood of each sequence under each draw, dims (draw, sequence); one draw for a point estimate."""
        self.check(data)
        data = self.model.catalogue(data)
        values = np.asarray(averaging.log_likelihoods(self.model, self._draws(draws), data))
        _require_no_underflow(values)
        return xr.DataArray(values, dims=("draw", "sequence"), name="log_likelihood")

    def smooth(self, data: Sequences, draws: int | None = AVERAGED_DRAWS) -> xr.DataArray | xr.Dataset:
        """Law of the states or latents given all data; NaN at padding.

        Returns:
            state probabilities, dims (sequence, time, state); of latents a dataset with `mean` (sequence, time, latent) and `covariance`
            (sequence, time, latent, latent_other).
        """
        return self._law(data, draws, "smooth", "smoothed")

    def filter(self, data: Sequences, draws: int | None = AVERAGED_DRAWS) -> xr.DataArray | xr.Dataset:
        """Law of the states or latents given the data up to each step, as `smooth`."""
        return self._law(data, draws, "filter", "filtered")

    def most_probable_path(self, data: Sequences) -> xr.DataArray:
        """Most probable state at each step (Viterbi), dims (sequence, time), -1 at padding; of latents the path of largest density, NaN at padding."""
        self.check(data)
        data = self.model.catalogue(data)
        path = self.model.most_probable_path(self._arrays, data)
        return self._path(data, np.asarray(path.states if isinstance(path, StatePath) else path), ("sequence", "time"), "most_probable_path")

    def sample_latents(self, data: Sequences, num_samples: int, seed: int) -> xr.DataArray:
        """Exact posterior draws of the states, dims (draw, sequence, time), -1 at padding, or of latents, (draw, sequence, time, latent), NaN there.

        Each is of another draw of the parameters, if there are any.
        """
        self.check(data)
        data = self.model.catalogue(data)
        key = key_of(seed)
        if self.posterior is None:
            drawn = self.model.sample_latents(key, self._arrays, data, num_samples)
        else:
            drawn = averaging.latents(self.model, self.parameters(num_samples), data, key)
        return self._path(data, np.asarray(drawn), ("draw", "sequence", "time"), "states")

    def _path(self, data: Sequences, values: np.ndarray, dims: tuple[str, ...], name: str) -> xr.DataArray:
        if values.ndim == len(dims):
            return xr.DataArray(values, dims=dims, name=name)
        values = np.where(np.asarray(data.mask)[..., None], values, np.nan)
        return xr.DataArray(values, dims=(*dims, "latent"), name="latents" if name == "states" else name)

    def simulate(self, lengths, seed: int, inputs: Any = None, **options: Any) -> tuple[Sequences, list[np.ndarray]]:
        """Draws new sequences of the given lengths from the fitted model; returns them with their states or latents.

        Args:
            lengths: steps of each sequence.
            seed: of the draw.
            inputs: as in `Sequences.from_arrays`, where the model reads inputs; standardised where those of the fit are (see `input_scales`).
            **options: of the model's own `simulate`: times, where it runs in continuous time.
        """
        if np.ndim(lengths) != 1:
            raise TypeError(f"lengths: found {described(lengths)}, expected the steps of each sequence in a list, for instance [100] for one sequence.")
        simulated, latents = self.model.simulate(key_of(seed), self._arrays, lengths, inputs, **options)
        return replace(simulated, input_scales=dict(self.input_scales)), latents

    def in_original_units(self) -> xr.Dataset:
        """The parameters for raw inputs, of a fit to standardised ones: weights per unit of the raw input, biases at its zero, transition rows likewise.

        Raw inputs have the same likelihood under them as standardised inputs have under `params`. A fit to raw inputs gives its parameters as they are.

        Returns:
            Parameters by name; where there are posterior draws, these too, `posterior.` before the name, and the means of the converted draws.

        Raises:
            ValueError: for a part of the model that reads standardised inputs otherwise than by weights, or without a bias.

        Example:
            >>> import numpy as np, latentgate as lg
            >>> rng = np.random.default_rng(0)
            >>> x = rng.normal(50.0, 10.0, (500, 1))
            >>> choice = (rng.uniform(size=(500, 1)) < 1 / (1 + np.exp(-0.2 * (x - 45)))).astype(float)
            >>> data = lg.Sequences.from_arrays([choice], inputs=[x]).standardized()
            >>> fit = lg.fit(lg.HMM(1, lg.emissions.BernoulliGLM(1)), data, seed=0)
            >>> raw = fit.in_original_units()
            >>> bool(abs(raw["emission.weights"][0, 0] - 0.2) < 0.05), bool(abs(raw["emission.bias"][0] + 9.0) < 2.5)
            (True, True)
        """
        from .original_units import in_original_units

        return in_original_units(self)

    def parameters(self, num_samples: int) -> dict[str, jax.Array]:
        """Parameters for as many samples, {name: [sample, ...]}: posterior draws, evenly spaced and repeated where there are fewer, or the point estimate."""
        return _spread(self._draws(None), num_samples)

    def posterior_predictive(self, data: Sequences, num_samples: int, seed: int) -> xr.DataArray:
        """New data of the lengths and with the inputs of `data`, each of another draw of the parameters.

        Returns:
            dims (draw, sequence, time, feature); NaN at padding.
        """
        self.check(data)
        lengths = [int(length) for length in data.lengths]
        inputs = {name: [np.asarray(rows)[i, :n] for i, n in enumerate(lengths)] for name, rows in data.inputs.items()} or None
        options: dict[str, Any] = {}
        if data.times is not None:
            options["times"] = [np.asarray(data.times)[i, :n] for i, n in enumerate(lengths)]
        drawn = np.full((num_samples, *np.shape(data.values)), np.nan)
        parameters = self.parameters(num_samples)
        for index, key in enumerate(jax.random.split(key_of(seed), num_samples)):
            simulated, _ = self.model.simulate(key, {name: value[index] for name, value in parameters.items()}, lengths, inputs, **options)
            drawn[index] = np.where(np.asarray(data.mask)[..., None], simulated.values, np.nan)
        return xr.DataArray(drawn, dims=("draw", "sequence", "time", "feature"), name="posterior_predictive")

    def bits_per_spike(self, data: Sequences, train: Sequences) -> float:
        """Gain over a homogeneous Poisson with the mean rates of `train`, in bits per spike of `data`."""
        require_sequences(train, "train")
        return metrics.bits_per_spike(float(self.log_likelihood(data).sum()), data, metrics.mean_rates(train))

    def bic(self, data: Sequences) -> float:
        """Bayesian information criterion, number of parameters times log(steps) − 2 log-likelihood: smaller is better."""
        require_sequences(data)
        return self.num_parameters * float(np.log(data.num_steps)) - 2 * float(self.log_likelihood(data).sum())

    def aligned_to(self, other: Fit) -> Fit:
        """The same fit with its states renumbered to match those of `other`.

        Raises:
            TypeError: if `other` is no fit.
            ValueError: if its model has other parameters, or another number of states.
        """
        if not isinstance(other, Fit):
            raise TypeError(f"other: found {described(other)}, expected a fit, as lg.fit returns it.")
        found, expected = ({name: np.shape(value) for name, value in one.own_params.items()} for one in (other, self))
        if found != expected:
            name = next(name for name in {**expected, **found} if found.get(name) != expected.get(name))
            raise ValueError(
                f"other: found {name} of shape {found.get(name, 'none')}, expected {expected.get(name, 'none')}; only fits of models with as many states "
                "and the same parameters have states that can be matched."
            )
        return self.with_states(match_params(other.params, self.params, self.model.interchangeable_dims()))

    def with_states(self, order) -> Fit:
        """The same fit with its states renumbered: new state k is old state order[k]."""
        dims = self.model.interchangeable_dims()
        if not has_states(dims):
            return self
        order = np.asarray(order)
        restarts = [replace(record, params=permute_states(record.params, dims, order)) for record in self.restarts]
        posterior = None if self.posterior is None else self.posterior.with_states(dims, order)
        return replace(self, params=permute_states(self.params, dims, order), restarts=restarts, posterior=posterior)

    def canonical(self) -> Fit:
        """The same fit with its latents in the basis to report, each restart in its own; for models whose latents have a free basis.

        Raises:
            ValueError: if the basis is not free, or the model has states instead of latents.
        """
        restarts = [replace(record, params=self.model.canonical(record.params)) for record in self.restarts]
        posterior = None
        if self.posterior is not None:
            model, draws = self.model, self.posterior.draws
            shape = (self.posterior.num_chains, self.posterior.num_draws)
            changed = [model.canonical({name: value[index] for name, value in draws.items()}) for index in np.ndindex(*shape)]
            posterior = replace(self.posterior, draws={name: np.stack([one[name] for one in changed]).reshape(np.shape(draws[name])) for name in draws})
        params = self.model.canonical(self.params) if posterior is None else {name: value.mean((0, 1)) for name, value in posterior.draws.items()}
        return replace(self, params=params, restarts=restarts, posterior=posterior)

    def summary(self, data: Sequences | None = None) -> pd.DataFrame:
        """The fit in a table; how it ended is in the frame's `attrs`.

        For a point estimate, one row a state: initial probability, expected stay in steps where transitions are constant, occupancy of `data` if given.
        For one of a model without states, or without a free law of the first, one row an entry of a parameter that is not fixed.
        Where there are draws, one row an entry of a parameter that is not fixed, by `arviz.summary`: mean, standard deviation, interval, R-hat, effective
        sample sizes, Monte Carlo errors; `attrs` then also counts divergences and label switches.
        """
        from .summary import frame

        return frame(self, data)

    def uncertainty(self, data: Sequences | None = None, of: Literal["posterior", "likelihood"] = "posterior") -> Uncertainty:
        """Standard errors, intervals and flat directions of a point fit from its Hessian: see `latentgate.inference.uncertainty`.

        Args:
            data: the sequences it was fitted to; may be left out unless the fit was read from a file.
            of: "posterior" for the log-joint, "likelihood" for the log-likelihood alone.
        """
        from .uncertainty import uncertainty

        data = self.data if data is None else data
        if data is None:
            raise ValueError("data: found None, since a saved fit holds no data; pass data=, the sequences it was fitted to.")
        return uncertainty(self, data, of)

    def interval(
        self,
        function: Callable[[dict[str, Any]], Any] | None = None,
        level: float = 0.95,
        data: Sequences | None = None,
        *,
        of: Literal["posterior", "likelihood"] = "posterior",
        method: str = "delta",
        seed: int = 0,
        num_draws: int = 1000,
    ) -> xr.Dataset:
        """Intervals of the parameters, or of a function of them: `Uncertainty.interval`, or quantiles of the posterior draws where there are some.

        Args:
            function: from {name: array} in natural space to an array, a mapping of arrays, or an xarray object; the parameters themselves if None.
            level: probability inside.
            data, of: as in `uncertainty`; of no use where there are draws.
            method, seed: as in `Uncertainty.interval`; of no use where there are draws.
            num_draws: draws that a function is asked of, evenly spaced where they are posterior draws.
        """
        from .quantities import interval_of_draws

        if self.posterior is not None:
            return interval_of_draws(self, function, level, num_draws)
        return self.uncertainty(data, of).interval(function, level, method, seed=seed, num_draws=num_draws)

    def to_arviz(self, data: Sequences | None = None, *, log_likelihood: str | None = "step") -> xr.DataTree:
        """The draws as ArviZ knows them: see `latentgate.inference.arviz_tree.to_tree`."""
        from .arviz_tree import to_tree

        return to_tree(self, self.data if data is None else data, log_likelihood)

    def __repr__(self) -> str:
        from .summary import text

        return text(self)

    def to_xarray(self) -> xr.Dataset:
        """Parameters as labelled arrays, with the histories of every restart and the draws, as `save` writes them."""
        return storage.to_dataset(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes a netCDF file that opens with plain xarray and holds no code and no data; replaced in one step, so never half-written.

        Returns:
            the path.
        """
        return storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Fit:
        """Reads a fit written by `save`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file is not a complete fit of this library.
        """
        return storage.load(cls, path)

    @property
    def _arrays(self) -> dict[str, jax.Array]:
        return {name: jnp.asarray(value) for name, value in self.params.items()}

    def _draws(self, most: int | None) -> dict[str, jax.Array]:
        """Parameters to average over, [draw, ...]."""
        if self.posterior is None:
            return {name: value[None] for name, value in self._arrays.items()}
        return {name: jnp.asarray(value) for name, value in self.posterior.flat(most).items()}

    def _law(self, data: Sequences, draws: int | None, question: str, name: str) -> xr.DataArray | xr.Dataset:
        self.check(data)
        data = self.model.catalogue(data)
        found, log_likelihood = averaging.laws(self.model, self._draws(draws), data, question)
        _require_no_underflow(np.asarray(log_likelihood))
        mask: Any = np.asarray(data.mask)

        def masked(values: jax.Array) -> np.ndarray:
            return np.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 2)), np.asarray(values), np.nan)

        if "probs" in found:
            return xr.DataArray(masked(found["probs"]), dims=("sequence", "time", "state"), name=name)
        mean = (("sequence", "time", "latent"), masked(found["mean"]))
        return xr.Dataset({"mean": mean, "covariance": (("sequence", "time", "latent", "latent_other"), masked(found["covariance"]))})


def _spread(draws: dict[str, jax.Array], num_samples: int) -> dict[str, jax.Array]:
    """`num_samples` draws, evenly spaced, with repetitions where there are fewer."""
    total = len(next(iter(draws.values())))
    index = np.arange(num_samples) * total // num_samples if num_samples <= total else np.arange(num_samples) % total
    return {name: value[index] for name, value in draws.items()}


def _degrees_of_freedom(prior: Distribution, value: np.ndarray) -> int:
    """Unconstrained coordinates of a parameter."""
    return int(np.prod(biject_to(prior.support).inverse_shape(np.shape(value))))


def _require_no_underflow(log_likelihood: np.ndarray) -> None:
    broken = np.isnan(log_likelihood).reshape(-1, log_likelihood.shape[-1]).any(0)
    if broken.any():
        first = int(np.argmax(broken))
        raise FloatingPointError(f"log-likelihood of sequence {first} is NaN. {Outcome.UNDERFLOW.value}")
