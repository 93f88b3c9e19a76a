"""The interface of a gate: how inputs weigh experts, or the next states."""

from __future__ import annotations

import abc
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from latentgate.data import Sequences

from ..base import Params, log_prior
from ..emissions.base import NUMERICAL_STEPS, check_inputs
from ..emissions.checks import positive
from ..newton import newton_rows, value_and_derivatives
from ..sized import ReadsInputs, sized_by_inputs
from ..unconstrained import constrain, maximise, unconstrain

_NEWTON_STEPS = 3
# Coordinates up to this number get Newton steps: one Hessian then costs no more than the many gradients of L-BFGS, and gets much further.
_MOST_COORDINATES = 32
_NO_INPUTS = "inputs: found none, and {} does not model inputs; pass one array [time, input] a sequence."


class Gate(ReadsInputs):
    """Probabilities of K experts (or next states) given the inputs of a step.

    A gate is a part like any other: `num_states` in the methods that it inherits from `Part` is K. Its number of inputs may be left open, and is then
    taken from the data it is fitted to.

    Attributes:
        inputs: name of the input set.
        num_inputs: M, its columns; None until data have been seen.
    """

    @property
    def normalised(self) -> bool:
        """Whether the weights sum to one, as those of a mixture must."""
        return True

    @property
    def models_inputs(self) -> bool:
        """Whether the gate is a law of the inputs too, so that the likelihood is that of inputs and observations."""
        return False

    @property
    def anchored(self) -> bool:
        """Whether experts have places of their own in the gate, so that they must not be renumbered."""
        return False

    @abc.abstractmethod
    def log_weights(self, params: Params, inputs: Array) -> Array:
        """Logarithms of the weights of the experts given inputs [..., M], [..., K]; -inf for an expert that is not selected."""

    def log_potentials(self, params: Params, inputs: Array) -> Array:
        """What the gate adds to the potential of each expert, [..., K]: the log-weights, or the joint log-density of expert and inputs."""
        return self.log_weights(params, inputs)

    def check_experts(self, num_experts: int) -> None:
        """Raises ValueError if the gate cannot weigh so many experts."""

    def at_temperature(self, temperature: float) -> Self:
        """The same gate with another fixed temperature.

        Raises:
            ValueError: for a gate without a fixed temperature, or a temperature that is not positive.
        """
        if not isinstance(getattr(self, "temperature", None), float):
            raise ValueError(f"gate: found {type(self).__name__} without a fixed temperature, expected a gate such as lg.gates.Softmax(temperature=1.0).")
        return eqx.tree_at(lambda gate: gate.temperature, self, positive("temperature", temperature))

    def m_step(self, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None = None) -> Params:
        """Parameters that do not lower Σ targets · log_potentials + log-prior; numerical here, better where there is something better.

        A gate may raise Σ total · log Σ_k weight_k exp(log_likelihood_k) + log-prior instead, with total = Σ_k targets, where it is given log-likelihoods.
        Targets forbid a gate that leaves experts out to ever take another set of them, since its responsibilities are zero off the present set. EM stays
        monotone (Liu and Rubin 1994, ECME) if log-likelihoods are those of the experts *after* their own M-step: with the gate as it was, new experts raise
        the expected log-joint and therefore the log-joint; then the gate raises the log-joint itself, with the new experts held. In the other order the
        experts' step would rest on responsibilities of a gate that is gone, and could lower what the gate has won.

        Args:
            params: current values.
            inputs: [sequence, time, M].
            targets: expected numbers of each choice, [sequence, time, K]; not negative, zero at padding.
            log_likelihood: log-density of each step under each expert, after the experts' M-step, [sequence, time, K]; None where there are no experts.
        """

        def expected(new: Params) -> Array:
            values = self.log_potentials(new, inputs)
            return jnp.sum(jnp.where(targets > 0, targets * values, 0.0))

        priors = self.priors(targets.shape[-1])
        start, unravel = ravel_pytree(unconstrain(priors, params))
        if start.size == 0:
            return params
        if start.size > _MOST_COORDINATES:
            return maximise(expected, priors, params, NUMERICAL_STEPS)

        def value(rows: Array) -> Array:
            natural = constrain(priors, unravel(rows[0]))
            return (expected(natural) + log_prior(priors, natural))[None]

        return constrain(priors, unravel(newton_rows(lambda rows: value_and_derivatives(value, rows), start[None], _NEWTON_STEPS)[0]))

    def sample(self, key: Array, params: Params, inputs: Array) -> Array:
        """An expert for inputs [..., M], int32 [...]."""
        return jax.random.categorical(key, self.log_weights(params, inputs)).astype(jnp.int32)

    def log_prevalence(self, params: Params) -> Array:
        """Log-probability of each expert before its inputs are known, [K], for gates that model inputs.

        Raises:
            ValueError: for a gate that does not.
        """
        raise ValueError(_NO_INPUTS.format(type(self).__name__))

    def sample_inputs(self, key: Array, params: Params, expert: Array) -> Array:
        """Inputs [M] of a step whose expert (scalar) is given, for gates that model inputs.

        Raises:
            ValueError: for a gate that does not.
        """
        raise ValueError(_NO_INPUTS.format(type(self).__name__))

    def check(self, data: Sequences) -> None:
        """Checks the input set."""
        check_inputs(type(self).__name__, sized_by_inputs(self, data).input_sets, data)
