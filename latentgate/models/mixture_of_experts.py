"""Static mixtures of experts: a discrete chain without coupling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import IndependentChain, Smoothed

from .base import Params, Prior, StateSpaceModel, without_prefix
from .emissions.statistics import feature_moments
from .experts.base import Experts
from .gates.balancing import Balance
from .gates.base import Gate
from .mixture import Mixture
from .observations import require_sequences

# Share of the spread of the data below which noise on a few rows is none.
_THIN = 0.01


class MixtureOfExperts(StateSpaceModel):
    """Gated mixture of experts: p(y | x) = Σ_k weight_k(x) p(y | x, expert k), with steps independent of each other.

    The expert of a step is its state, so everything that is asked of states is asked of experts: `fit.smooth(data)` gives responsibilities. Rows without order
    are one sequence: `lg.Sequences.from_arrays([y], inputs=[x])`.

    Parameters: those of the gate under `gate.`, those of the experts under `experts.`.

    Args:
        gate: from `lg.gates`, with weights that sum to one.
        experts: from `lg.experts`.
        start: how restarts begin: "k-means" clusters of inputs and observations (stretched anew in every restart), or a "random" partition along a line.
        balance: one of `lg.gates.balancing`, or several: penalties that keep experts in use. They bias maximum likelihood.

    Raises:
        ValueError: for something that is no gate, or no experts, a gate without a density or for fewer experts, or an unknown start.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(0, 1, 200)[:, None]
        >>> y = np.where(x < 0.5, x, 3 - x) + 0.1 * np.random.default_rng(0).normal(size=x.shape)
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, lg.Sequences.from_arrays([y], inputs=[x]), lg.EM(restarts=4), seed=0)
        >>> sorted(np.round(fit.params["experts.weights"][:, 0]).tolist())
        [-1.0, 1.0]
    """

    mixture: Mixture

    def __init__(self, gate: Gate, experts: Experts, *, start: str = "k-means", balance: Balance | Sequence[Balance] = ()):
        self.mixture = Mixture(gate, experts, start, tuple(balance) if isinstance(balance, Sequence) else (balance,))

    @property
    def gate(self) -> Gate:
        """The gate."""
        return self.mixture.gate

    @property
    def experts(self) -> Experts:
        """The experts."""
        return self.mixture.experts

    @property
    def num_experts(self) -> int:
        """K."""
        return self.mixture.num_experts

    def priors(self) -> dict[str, Prior]:
        """See `StateSpaceModel.priors`."""
        return self.mixture.priors()

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `StateSpaceModel.dims`."""
        return self.mixture.dims()

    def interchangeable_dims(self) -> dict[str, tuple[str, ...]]:
        """See `StateSpaceModel.interchangeable_dims`."""
        return self.mixture.interchangeable_dims()

    def check(self, data: Sequences) -> None:
        """See `StateSpaceModel.check`."""
        require_sequences(data)
        self.mixture.check(data)

    def suited_to(self, data: Sequences) -> Self:
        """See `Part.suited_to`."""
        return eqx.tree_at(lambda model: model.mixture, self, self.mixture.suited_to(data))

    def catalogue(self, data: Sequences) -> Sequences:
        """See `Part.catalogue`."""
        return self.mixture.catalogue(data)

    def prepare(self, data: Sequences) -> Sequences:
        """See `Part.prepare`."""
        return self.mixture.prepare(data)

    def initialize(self, key: Array, data: Sequences) -> Params:
        """See `StateSpaceModel.initialize`."""
        return self.mixture.initialize(key, data)

    def adopt(self, other: StateSpaceModel, params: Params) -> Params:
        """Start from a fit of a mixture with as many experts, part by part."""
        if not isinstance(other, MixtureOfExperts) or other.num_experts != self.num_experts:
            found = f"a mixture of {other.num_experts} experts" if isinstance(other, MixtureOfExperts) else type(other).__name__
            raise ValueError(f"start: found a fit of {found}, expected a mixture of {self.num_experts} experts.")
        return self.mixture.adopt(other.mixture, params)

    def degeneracy(self, params: Params, data: Sequences) -> str | None:
        """See `StateSpaceModel.degeneracy`: a gate that is a step, or an expert on as few rows as it has coefficients."""
        occupancy = self.potentials(params, data).smooth().occupancy
        deviation = feature_moments(data)[1].max()
        first = 0
        # Families of experts that stand side by side have parameters of their own.
        for family, prefix in self.experts.families("experts"):
            own = occupancy[first : first + family.num_experts]
            first += family.num_experts
            if f"{prefix}.scale" in params:
                # As many coefficients as rows leave no residual.
                coefficients = sum(np.size(value) for name, value in params.items() if name.startswith(f"{prefix}.") and name != f"{prefix}.scale")
                thin = jnp.broadcast_to(params[f"{prefix}.scale"], (family.num_experts,)) < _THIN * deviation
                if bool(jnp.any(thin & (own < coefficients / family.num_experts + 1))):
                    return "VARIANCE_COLLAPSED"
        return self.mixture.degeneracy(params, data)

    def log_penalty(self, params: Params, data: Sequences) -> Array:
        """See `StateSpaceModel.log_penalty`: minus the balancing terms times the number of steps."""
        return self.mixture.log_penalty(params, data)

    def potentials(self, params: Params, data: Sequences) -> IndependentChain:
        """See `StateSpaceModel.potentials`."""
        return IndependentChain(self.mixture.log_nodes(params, data), jnp.asarray(data.lengths))

    def m_step(self, params: Params, data: Sequences, smoothed: Smoothed) -> Params:
        """See `StateSpaceModel.m_step`."""
        return self.mixture.m_step(params, data, smoothed.marginals)

    def simulate(self, key: Array, params: Params, lengths, inputs=None, times=None) -> tuple[Sequences, list[np.ndarray]]:
        """Draws observations from the model.

        Args:
            key: JAX random key.
            params: parameters.
            lengths: steps of each sequence.
            inputs: as in `Sequences.from_arrays`, one array [time, input] a sequence; may be left out where the gate models inputs.
            times: as in `Sequences.from_arrays`; kept with the data drawn.

        Returns:
            the sequences and a list of their experts, int32 [time].

        Raises:
            ValueError: for missing inputs.
        """
        lengths = [int(length) for length in lengths]
        longest, count = max(lengths), len(lengths)
        params = {name: jnp.asarray(value) for name, value in params.items()}
        for_inputs, for_values = jax.random.split(key)
        if inputs is None:
            drawn = _simulate_inputs(self, jax.random.split(for_inputs, count * longest), params)
            drawn = np.asarray(drawn).reshape(count, longest, -1)
            inputs = {self.gate.inputs: [rows[:length] for rows, length in zip(drawn, lengths, strict=True)]}
        blank = [np.zeros((length, self.experts.num_features)) for length in lengths]
        given = Sequences.from_arrays(blank, inputs=inputs, times=times)
        columns = {name: jnp.asarray(values) for name, values in given.inputs.items()}
        keys = jax.random.split(for_values, count * longest).reshape(count, longest)
        values, experts = (np.asarray(found) for found in _simulate(self, keys, params, columns))
        arrays = [value[:length] for value, length in zip(values, lengths, strict=True)]
        simulated = Sequences.from_arrays(arrays, inputs=inputs, times=times)
        return simulated, [expert[:length] for expert, length in zip(experts, lengths, strict=True)]


@eqx.filter_jit
def _simulate(model: MixtureOfExperts, keys: Array, params: Params, inputs: dict[str, Array]) -> tuple[Array, Array]:
    recent = jnp.zeros((model.experts.num_lags, model.experts.num_features))
    return jax.vmap(jax.vmap(lambda key, inputs: model.mixture.sample(key, params, inputs, recent)))(keys, inputs)


@eqx.filter_jit
def _simulate_inputs(model: MixtureOfExperts, keys: Array, params: Params) -> Array:
    gate = without_prefix("gate", params)

    def one(key: Array) -> Array:
        for_expert, for_inputs = jax.random.split(key)
        expert = jax.random.categorical(for_expert, model.gate.log_prevalence(gate))
        return model.gate.sample_inputs(for_inputs, gate, expert)

    return jax.vmap(one)(keys)
