"""States read with error: a table of which label is read in which state, with zeros where a label is impossible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import safe_log

from ..base import Params, Prior, with_shape
from ..distributions import dirichlet_mode, numbers_of
from ..newton import fits_newton, newton_rows, value_and_derivatives, weighted_gram
from ..observations import check_categories
from ..on_entries import OnEntries
from ..patterns import contrasts, references
from ..simplex_rows import SimplexRows
from .base import Emission
from .checks import at_least, prior_or, refuse_idle_prior
from .known_state import sequence_name
from .logistic import NEWTON_STEPS
from .statistics import column_spread

# Probability of the reference label of a state at the start of a fit, where other labels are allowed.
_MOSTLY_RIGHT = 0.9


class Misclassified(Emission):
    """One column of labels 0, 1, ..., C - 1, read in state k with the probabilities of row k: P(y = c) = probs[z, c], zero where `allowed` is False.

    A row with a single allowed label is fixed: that state is read without error. Labels anchor states, so that states have names that fits agree on.

    With inputs, the log-odds of a label against the state's reference (label k in state k, where allowed, else the first allowed one) move with them:
    log P(y = c) = log probs[z, c] + weights[z, c] · inputs - normaliser, so that `probs` are those at inputs of zero.

    Parameters: `probs` [state, category]; with inputs `weights` [state, category, input], zero at references and where a label is not allowed.

    Args:
        allowed: booleans [state, category]; {state: labels}; or a number K, for K labels of K states, all allowed.
        num_inputs: columns of the input set; 0 for none.
        inputs: its name.
        prior: Dirichlet over the C labels (batch shape () or (K,)), of which each row takes the concentrations of its allowed labels; or a distribution of
            the whole matrix with the support of `latentgate.models.patterns.SimplexRows`. Concentrations of 1.1 if None. Dirichlet priors have a closed-form
            M-step without inputs and a Newton M-step with them, any other prior a numerical one (L-BFGS).
        weight_prior: of every free weight; Normal(0, 2) if None. Newton's M-step is for smooth priors over the reals.

    Raises:
        ValueError: for a state without allowed labels, a wrong shape, or a prior of weights without inputs.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> next_stage_only = np.tri(4, k=1, dtype=bool) & ~np.tri(4, k=-2, dtype=bool)
        >>> next_stage_only[3] = [False, False, False, True]  # death is never misread
        >>> lg.emissions.Misclassified(next_stage_only).dims()
        {'probs': ('state', 'category')}
    """

    allowed: tuple[tuple[bool, ...], ...]
    num_inputs: int
    inputs: str
    prior: dist.Distribution
    weight_prior: dist.Distribution | None

    def __init__(
        self,
        allowed: Any,
        num_inputs: int = 0,
        inputs: str = "inputs",
        prior: dist.Distribution | None = None,
        weight_prior: dist.Distribution | None = None,
    ):
        pattern = _pattern(allowed)
        self.allowed = tuple(tuple(row) for row in pattern.tolist())
        self.num_inputs = at_least("num_inputs", num_inputs, 0)
        self.inputs = inputs
        refuse_idle_prior("weight_prior", weight_prior, self.num_inputs > 0, "there are no inputs")
        default = dist.Dirichlet(np.full(pattern.shape[1], 1.1))
        if type(prior) is SimplexRows and np.array_equal(prior.mask, pattern):
            prior = dist.Dirichlet(prior.concentration)
        self.prior = _checked(prior_or("prior", prior, default), pattern.shape)
        self.weight_prior = prior_or("weight_prior", weight_prior, dist.Normal(0.0, 2.0)) if self.num_inputs else None

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    @property
    def input_sets(self) -> dict[str, int]:
        """See `Emission.input_sets`."""
        return {self.inputs: self.num_inputs} if self.num_inputs else {}

    @property
    def pattern(self) -> np.ndarray:
        """Which label can be read in which state, bool [state, category]."""
        return np.array(self.allowed)

    @property
    def anchored(self) -> bool:
        """Whether states cannot be renumbered, since zeros have their places: of labels that are not allowed, or of the references of weights."""
        return self.num_inputs > 0 or not self.pattern.all()

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        pattern = self._pattern_of(num_states)
        closed = isinstance(self.prior, dist.Dirichlet)
        probs = SimplexRows(pattern, numbers_of(self.prior, "concentration")[0]) if closed else with_shape(self.prior, pattern.shape, "probs")
        if self.weight_prior is None:
            return {"probs": probs}
        return {"probs": probs, "weights": OnEntries(self.weight_prior, self._weight_mask())}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        probs = {"probs": ("state", "category")}
        return probs | {"weights": ("state", "category", "input")} if self.num_inputs else probs

    def _pattern_of(self, num_states: int) -> np.ndarray:
        if num_states != len(self.allowed):
            raise ValueError(f"allowed: found {len(self.allowed)} rows, expected {num_states}, one for each state of the model.")
        return self.pattern

    def _weight_mask(self) -> np.ndarray:
        return np.repeat(contrasts(self.pattern)[..., None], self.num_inputs, axis=-1)

    def check(self, data: Sequences) -> None:
        """Labels in range only, and none that no state can give."""
        super().check(data)
        pattern = self.pattern
        check_categories("Misclassified", pattern.shape[1], data)
        values = np.asarray(data.values)
        impossible = np.asarray(data.observed) & np.isin(values, np.flatnonzero(~pattern.any(axis=0)))
        if impossible.any():
            sequence, step, _ = np.argwhere(impossible)[0]
            raise ValueError(
                f"data: found label {values[sequence, step, 0]:g} in {sequence_name(data, int(sequence))}, step {step}, expected one that some state allows; "
                "allow it in a row of allowed, or mark it as missing by NaN."
            )

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Mostly the reference label, the rest spread over the others, scattered by about a third in the logarithm; weights near zero."""
        pattern = self._pattern_of(num_states)
        others = contrasts(pattern)
        base = np.where(others, (1.0 - _MOSTLY_RIGHT) / np.maximum(others.sum(1, keepdims=True), 1), _MOSTLY_RIGHT)
        for_probs, for_weights = jax.random.split(key)
        scatter = 0.3 * jax.random.normal(for_probs, pattern.shape)
        probs = jax.nn.softmax(jnp.log(base) + scatter, axis=-1, where=pattern)
        if not self.num_inputs:
            return {"probs": probs}
        mask = self._weight_mask()
        _, spread = column_spread(data.inputs[self.inputs], data.lengths)
        return {"probs": probs, "weights": jnp.where(mask, 0.1 * jax.random.normal(for_weights, mask.shape) / spread, 0.0)}

    def _log_probs(self, params: Params, inputs: Array) -> Array:
        """Log-probability of each label, [..., state, category], for inputs [..., input]."""
        odds = safe_log(params["probs"]) + jnp.einsum("...m,kcm->...kc", inputs, params["weights"])
        return jax.nn.log_softmax(odds, axis=-1, where=self.pattern)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        label = values[..., 0].astype(jnp.int32)
        if not self.num_inputs:
            return jnp.where(observed, safe_log(params["probs"]).T[label], 0.0)
        log_probs = self._log_probs(params, jnp.asarray(data.inputs[self.inputs]))
        return jnp.where(observed, jnp.take_along_axis(log_probs, label[..., None, None], axis=-1)[..., 0], 0.0)

    def possible(self, data: Sequences, num_states: int) -> np.ndarray:
        """See `Emission.possible`: the states that allow a label."""
        return self.pattern.T[np.asarray(data.values)[..., 0].astype(int)] | ~np.asarray(data.observed)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Without inputs the posterior mode of each row under a Dirichlet prior, with them Newton on its log-odds; L-BFGS for other priors."""
        if not isinstance(self.prior, dist.Dirichlet):
            return super().m_step(params, data, weights)
        if self.weight_prior is not None:
            return self._newton(params, data, weights, self.weight_prior) if fits_newton(self.weight_prior, 1) else super().m_step(params, data, weights)
        counts = jnp.where(self.pattern, jnp.einsum("stk,stc->kc", weights, self._indicators(data, weights)), 0.0)
        return {"probs": dirichlet_mode(counts, self._concentration(), params["probs"])}

    def _indicators(self, data: Sequences, weights: Array) -> Array:
        """One-hot labels [sequence, time, category]; all zero where missing."""
        found = jnp.asarray(data.values) == jnp.arange(self.pattern.shape[1])
        return jnp.where(jnp.asarray(data.observed), found, False).astype(weights.dtype)

    def _concentration(self) -> Array:
        """Of the Dirichlet prior, [state, category]; one where a label is not allowed."""
        return jnp.where(self.pattern, numbers_of(self.prior, "concentration")[0], 1.0)

    def _newton(self, params: Params, data: Sequences, weights: Array, weight_prior: dist.Distribution) -> Params:
        """A few Newton steps of every state's weights and log-odds against its reference, jointly."""
        pattern, free = self.pattern, contrasts(self.pattern)
        inputs, seen = jnp.asarray(data.inputs[self.inputs]), self._indicators(data, weights)
        weights = jnp.where(jnp.asarray(data.observed), weights, 0.0)
        design = jnp.concatenate([inputs, jnp.ones_like(inputs[..., :1])], axis=-1)
        shape = (*pattern.shape, design.shape[-1])
        own = np.repeat(free[..., None], shape[-1], axis=-1).reshape(len(pattern), -1)
        of_weights = OnEntries(weight_prior, self._weight_mask())

        def log_prior(rows: Array) -> Array:
            coefficients = jnp.where(own, rows, 0.0).reshape(shape)
            log_probs = jax.nn.log_softmax(coefficients[..., -1], axis=-1, where=pattern)
            of_slopes = of_weights.pattern.put(jnp.asarray(of_weights.prior.log_prob(of_weights.pattern.take(coefficients[..., :-1]))))
            of_rows = jnp.where(pattern, (self._concentration() - 1.0) * log_probs, 0.0)
            # What is not free stays where it is, at zero, and is given a curvature so that the system has a solution.
            return of_rows.sum(-1) + of_slopes.sum((-1, -2)) - 0.5 * jnp.where(own, 0.0, rows**2).sum(-1)

        def evaluate(rows: Array) -> tuple[Array, Array, Array]:
            value, gradient, curvature = value_and_derivatives(log_prior, rows)
            log_probs = jax.nn.log_softmax(jnp.einsum("stm,kcm->stkc", design, rows.reshape(shape)), axis=-1, where=pattern)
            chosen = jnp.sum(jnp.where(seen[:, :, None] > 0, log_probs, 0.0), axis=-1)
            value = value + jnp.sum(jnp.where(weights > 0, weights * chosen, 0.0), axis=(0, 1))
            probs = jnp.exp(log_probs)
            weighted = weights[..., None] * probs
            slope = jnp.einsum("stkc,stm->kcm", weights[..., None] * seen[:, :, None] - weighted, design)
            between = weighted[..., :, None] * (jnp.eye(shape[1]) - probs[..., None, :])
            gram = weighted_gram(design, between.reshape(*between.shape[:2], -1)).reshape(shape[0], shape[1], shape[1], shape[2], shape[2])
            gram = jnp.moveaxis(gram, 2, 3).reshape(curvature.shape)
            return value, gradient + jnp.where(own, slope.reshape(rows.shape), 0.0), curvature + jnp.where(own[:, :, None] & own[:, None, :], gram, 0.0)

        logs = jnp.log(jnp.where(pattern, params["probs"], 1.0))
        odds = jnp.where(free, logs - jnp.take_along_axis(logs, references(pattern)[:, None], axis=-1), 0.0)
        start = jnp.concatenate([params["weights"], odds[..., None]], axis=-1).reshape(own.shape)
        found = newton_rows(evaluate, start, NEWTON_STEPS).reshape(shape)
        return {"probs": jax.nn.softmax(found[..., -1], axis=-1, where=pattern), "weights": found[..., :-1]}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        probs = params["probs"]
        log_probs = self._log_probs(params, inputs[self.inputs]) if self.num_inputs else safe_log(probs)
        return jax.random.categorical(key, log_probs[state])[None].astype(probs.dtype)


def _pattern(allowed: Any) -> np.ndarray:
    """Bool [state, category] of the three ways to give it."""
    if isinstance(allowed, int | np.integer) and not isinstance(allowed, bool):
        return np.ones((at_least("allowed", int(allowed), 2),) * 2, bool)
    if isinstance(allowed, Mapping):
        allowed = _from_mapping(allowed)
    pattern = np.asarray(allowed)
    references(pattern)
    if pattern.shape[1] < 2:
        raise ValueError(f"allowed: found {pattern.shape[1]} labels, expected at least 2.")
    return pattern


def _from_mapping(labels: Mapping[int, Iterable[int]]) -> np.ndarray:
    if sorted(labels) != list(range(len(labels))) or not labels:
        raise ValueError(f"allowed: found the states {list(labels)}, expected every state 0, 1, ..., K - 1 once.")
    rows = {state: [at_least(f"allowed[{state}]", label, 0) for label in row] for state, row in labels.items()}
    pattern = np.zeros((len(rows), 1 + max(max(row, default=0) for row in rows.values())), bool)
    for state, row in rows.items():
        pattern[state, row] = True
    return pattern


def _checked(prior: dist.Distribution, shape: tuple[int, ...]) -> dist.Distribution:
    """The prior, if it can be that of rows or of the whole matrix."""
    rows = isinstance(prior, dist.Dirichlet) and prior.event_shape == shape[1:] and prior.batch_shape in ((), shape[:1])
    if not rows and prior.event_shape != shape:
        raise ValueError(
            f"prior: found {type(prior).__name__} of batch shape {prior.batch_shape} and event shape {prior.event_shape}, expected a Dirichlet over "
            f"{shape[1]} labels, or a distribution of a matrix {shape} with the support of latentgate.models.patterns.SimplexRows."
        )
    return prior
