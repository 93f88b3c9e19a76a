"""Softmax over the experts with the largest scores, and the M-step that can change which these are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from latentgate.kernels import log_sum_exp_leading

from ..base import Params, log_prior
from ..zero_sum import contrasts_of
from .linear import clipped, linear_scores
from .logit import newton_logit

# Sizes of the compass search, in units of the scores: from changes of many selections to changes of single ones. Between two that differ more, the one
# step that moves a border past a single row is too easily missed.
_SIZES = tuple(0.5 * 4.0**-power for power in range(7))
# Errors of rounding, in units of the last place a term, within which two scores may change places between two evaluations of one gate.
_ROUNDING = 32
# How far along the way to each Newton proposal the gate is tried.
_FRACTIONS = (1.0, 0.25)


def selected(ranking: Array, num_selected: int) -> Array:
    """The entries [K, ...] among the `num_selected` largest over the leading axis, bool; of equal ones the first."""
    index = jnp.arange(ranking.shape[0]).reshape(-1, *[1] * (ranking.ndim - 1))
    # Never against itself: XLA may compute one score twice in one program, with other rounding, and an entry would be ahead of itself.
    ahead = jnp.zeros(ranking.shape, int)
    for other, row in enumerate(ranking):
        ahead = ahead + ((index != other) & ((row > ranking) | ((row == ranking) & (other < index))))
    return ahead < num_selected


def selection_step(gate: Any, params: Params, inputs: Array, targets: Array, log_likelihood: Array | None) -> Params:
    """`weights` and `bias` of a gate with selection (see `TopK`) that do not lower what is asked of `Gate.m_step`.

    Newton steps on multinomial logits propose (with the present selection held; and as if all experts were selected, which moves the selection towards the
    experts that explain a row best), then a compass search over single coefficients with geometric step sizes; each candidate is taken only if it raises
    the true objective. The number of candidates is fixed.

    The objective jumps where a border passes a row, and often climbs up to the jump: the search would end where rounding decides what is selected, and the next
    evaluation would disagree. So no candidate is taken that leaves more rows within rounding of a border than there were.

    Where steps have targets (or densities) that the selection excludes, so that the objective is -inf, what counts first is the expected number of such steps.

    Args:
        gate: with `num_selected`, the attributes of a `LinearGate`, `temperature`, `linear`, `ranking_bias`, `selection` and `log_weights`.
        params, inputs, targets, log_likelihood: as in `Gate.m_step`.
    """
    num_experts = targets.shape[-1]
    priors = gate.priors(num_experts)
    total = targets.sum(-1)
    leading = jnp.moveaxis(targets, -1, 0)
    densities = None if log_likelihood is None else jnp.moveaxis(log_likelihood, -1, 0)

    def worth(rows: dict[str, Array]) -> Array:
        """Excluded mass, rows in doubt, and the objective over all others."""
        candidate = {**params, **rows}
        log_weights = jnp.moveaxis(gate.log_weights(candidate, inputs), -1, 0)
        if densities is None:
            possible = log_weights > -jnp.inf
            missed = jnp.sum(jnp.where(possible, 0.0, leading))
            value = jnp.sum(jnp.where(possible & (leading > 0), leading * log_weights, 0.0))
        else:
            log_density = log_sum_exp_leading(log_weights + densities)
            possible = log_density > -jnp.inf
            missed = jnp.sum(jnp.where(possible, 0.0, total))
            value = jnp.sum(jnp.where(possible & (total > 0), total * log_density, 0.0))
        doubtful = jnp.sum(jnp.where(_in_doubt(gate, candidate, inputs), total, 0.0))
        return jnp.stack([missed, doubtful, value + log_prior(priors, candidate)])

    # Coefficients of inputs in units of their spread, [K, M + 1], so that steps of one size mean as much for all.
    mass = jnp.where(total.sum() > 0, total, 1.0)[..., None] / jnp.where(total.sum() > 0, total.sum(), total.size)
    mean = jnp.sum(mass * inputs, (0, 1))
    spread = jnp.sqrt(jnp.sum(mass * (inputs - mean) ** 2, (0, 1)))
    spread = jnp.where(spread > 0, spread, 1.0)

    def standard(rows: dict[str, Array]) -> Array:
        return jnp.concatenate([rows["weights"] * spread, (rows["bias"] + rows["weights"] @ mean)[:, None]], axis=-1)

    def length(weights: Array, bias: Array) -> Array:
        weight_scale, bias_scale = (1.0 if scale is None else scale for scale in (gate.weight_scale, gate.bias_scale))
        return jnp.sqrt(jnp.sum((weights / weight_scale) ** 2) + jnp.sum((bias / bias_scale) ** 2))

    target_length = length(params["weights"], params["bias"])

    def natural(coefficients: Array) -> dict[str, Array]:
        weights = coefficients[:, :-1] / spread
        bias = coefficients[:, -1] - weights @ mean
        if gate.num_selected == 1:
            # Scores of any scale select alike, so the prior would shrink them without end: the search stays where the prior density is what it was.
            found = length(weights, bias)
            factor = jnp.where((found > 0) & (target_length > 0), target_length / jnp.where(found > 0, found, 1.0), 1.0)
            weights, bias = factor * weights, factor * bias
        if gate.bound is not None:
            weights, bias = clipped(weights, gate.bound, True), clipped(bias, gate.bound, True)
        return {"weights": weights, "bias": bias}

    def attempt(best: tuple, coefficients: Array) -> tuple:
        present, (missed, doubtful, value) = best
        rows = natural(coefficients)
        found = worth(rows)
        better = (found[0] < missed) | ((found[0] == missed) & (found[1] <= doubtful) & (found[2] > value))
        return {name: jnp.where(better, rows[name], present[name]) for name in rows}, jnp.where(better, found, best[1])

    start = {"weights": params["weights"], "bias": params["bias"]}
    best = (start, worth(start))
    proposals = _proposals(gate, params, inputs, leading, total, densities)
    here = standard(start)
    for fraction in _FRACTIONS:
        along = jax.vmap(lambda rows: here + fraction * (standard(rows) - here))(proposals)  # noqa: B023 - called at once
        best, _ = jax.lax.scan(lambda best, coefficients: (attempt(best, coefficients), None), best, along)

    # A move of the last of two experts is the opposite move of the first.
    moved = num_experts if num_experts > 2 else 1
    units = np.eye(num_experts * here.shape[-1])[: moved * here.shape[-1]].reshape(-1, *here.shape)
    units = np.concatenate([units, -units]) * 1.0
    moves = jnp.asarray(np.concatenate([size * units for size in _SIZES]), here.dtype)

    def step(best: tuple, move: Array) -> tuple:
        coefficients = standard(best[0])
        typical = jnp.sqrt(jnp.mean(contrasts_of(coefficients) ** 2))
        # The scale of scores means nothing where one expert is selected.
        unit = jnp.where(typical > 0, typical, gate.temperature) if gate.num_selected == 1 else jnp.maximum(typical, gate.temperature)
        changed = coefficients + unit * move
        return attempt(best, changed - changed.mean(0)), None

    best, _ = jax.lax.scan(step, best, moves)
    return {**params, **best[0]}


def _in_doubt(gate: Any, params: Params, inputs: Array) -> Array:
    """Steps at which rounding decides what is selected, bool [sequence, time]."""
    bias = gate.ranking_bias(params)
    ranking = linear_scores(params["weights"], bias, inputs)
    inside = selected(ranking, gate.num_selected)
    gap = jnp.where(inside, ranking, jnp.inf).min(0) - jnp.where(inside, -jnp.inf, ranking).max(0)
    terms = linear_scores(jnp.abs(params["weights"]), jnp.abs(bias), jnp.abs(inputs)).max(0)
    return gap < _ROUNDING * jnp.finfo(ranking.dtype).eps * terms


def _proposals(gate: Any, params: Params, inputs: Array, targets: Array, total: Array, densities: Array | None) -> dict[str, Array]:
    """Weights [proposal, K, M] and biases [proposal, K] by Newton on logits without or with the present selection held."""
    scores = gate.linear(params, inputs)
    everyone = jnp.ones(targets.shape, bool)
    asked = [(targets, everyone)]
    if densities is not None:
        # What responsibilities would be if all experts were selected; and without what the gate says, for it may be quite wrong.
        asked = [(_shares(total, scores + densities), everyone), (_shares(total, densities), everyone)]
    if gate.num_selected > 1:
        held = gate.selection(params, inputs)
        asked.append((targets if densities is None else _shares(total, jnp.where(held, scores, -jnp.inf) + densities), held))
    chosen, active = (jnp.stack(arrays) for arrays in zip(*asked, strict=True))

    def one(problem: tuple[Array, Array]) -> dict[str, Array]:
        chosen, active = problem
        weights, bias = newton_logit(
            params["weights"],
            params["bias"],
            inputs,
            jnp.moveaxis(chosen, 0, -1),
            weight_scale=gate.weight_scale,
            bias_scale=gate.bias_scale,
            bound=gate.bound,
            temperature=gate.temperature,
            active=active,
        )
        return {"weights": weights, "bias": bias}

    return jax.lax.map(one, (chosen, active))


def _shares(total: Array, log_potentials: Array) -> Array:
    """Total · softmax over the leading axis; zero where nothing is possible."""
    normaliser = log_sum_exp_leading(log_potentials)
    possible = (normaliser > -jnp.inf) & (total > 0)
    return jnp.where(possible, total * jnp.exp(log_potentials - jnp.where(possible, normaliser, 0.0)), 0.0)


def checked_selection(owner: str, num_selected: int, num_experts: int) -> None:
    """Raises ValueError where more experts are to be selected than there are."""
    if num_selected > num_experts:
        raise ValueError(f"num_selected: found {num_selected} for {owner}, expected at most the number of experts, {num_experts}.")
