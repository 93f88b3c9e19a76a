"""Gaussian chains that stand for the posterior of latents seen through counts: Laplace's, at the mode of the whole path, and the best one in evidence.

Both are found by the same step: expand the log-probability of the counts to second order, about a path or on average over a chain; the expansion's nodes make
a chain; go towards its means (Laplace: Newton's method) or towards the nodes themselves (variational: natural gradients, Khan & Lin 2017).
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from latentgate.kernels import GaussianChain
from latentgate.kernels.gaussian import Information
from latentgate.kernels.gaussian.sequences_last import Law, Posterior, Sites, chain, posterior, prior_means

from .count_terms import Terms, count_terms, expected_rates, inverse_link

# Both climbs are of concave functions and end by themselves, mostly after six to fifteen candidates.
_MOST_CANDIDATES = 100


class Counts(NamedTuple):
    """Data with the sequences last.

    Attributes:
        values: [time, neuron, sequence].
        observed: bool, as the values.
        lengths: [sequence].
        nearby: sum of the values within a few steps, as the values.
        exposure: sum of the same weights where there are values, of their shape.
    """

    values: Array
    observed: Array
    lengths: Array
    nearby: Array
    exposure: Array


class Readout(NamedTuple):
    """Predictors are loadings [neuron, d] times latents, plus offset [time or 1, neuron, sequence or 1]."""

    loadings: Array
    offset: Array


class Options(NamedTuple):
    """What is fixed when a program is compiled: link and backend."""

    link: str
    backend: str


class Climb(NamedTuple):
    """A sequence-wise climb: a point with its value, a step from it, the fraction of the step to try next."""

    point: Any
    value: Array
    step: Any
    size: Array
    left: Array
    done: Array
    count: Array


def laplace(options: Options, law: Law, readout: Readout, counts: Counts, log_factorials: Array) -> GaussianChain:
    """The chain whose nodes are expanded at the mode of the path; its log-normaliser is Laplace's approximation of the log-likelihood.

    First derivatives of the log-normaliser are exact: they know that the mode moves with the parameters. (Second derivatives are not.)

    Args:
        options: link and backend.
        law: prior of the latents.
        readout: from latents to predictors.
        counts: the data.
        log_factorials: Σ_n log y_n! of every step, [time, sequence].
    """
    path, reached = jax.lax.stop_gradient(_mode(options, *jax.lax.stop_gradient((law, readout)), counts))
    sites, constant = _expansion(options, readout, counts, path)
    moved = _mode_moves(options, law, readout, path, counts)
    # A path that is not the mode must not pass for one.
    constant = constant - log_factorials + jnp.where(reached, moved, jnp.nan) * (jnp.arange(len(constant)) == 0)[:, None]
    return chain(law, sites, constant, counts.lengths, options.backend)


def variational(options: Options, law: Law, readout: Readout, counts: Counts, log_factorials: Array) -> GaussianChain:
    """The chain of largest evidence lower bound; its log-normaliser is that bound, and first derivatives of it are exact.

    Args: as `laplace`.
    """
    sites, found, reached = jax.lax.stop_gradient(_best_sites(options, *jax.lax.stop_gradient((law, readout)), counts))
    terms = _terms(options, readout, counts, found.means, found.covariances)
    constant = terms.value.sum(1) - _expected_sites(sites, found) - log_factorials
    constant = jnp.where(reached, constant, jnp.nan)
    return chain(law, sites, constant, counts.lengths, options.backend)


def predictor_variance(loadings: Array, covariances: Array) -> Array:
    """Variance of every predictor, [time, neuron, sequence]."""
    flat = covariances.reshape(covariances.shape[0], -1, covariances.shape[-1])
    return _outer(loadings) @ flat


def _outer(loadings: Array) -> Array:
    return (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1)


def _terms(options: Options, readout: Readout, counts: Counts, means: Array, covariances: Array | None = None) -> Terms:
    variance = None if covariances is None else predictor_variance(readout.loadings, covariances)
    return count_terms(options.link, counts.values, readout.loadings @ means + readout.offset, variance).where(counts.observed)


def _sites(readout: Readout, terms: Terms, means: Array) -> Sites:
    """Nodes with the slope and curvature of the terms at these means."""
    loadings = readout.loadings
    size = loadings.shape[1]
    precision = _outer(loadings).T @ terms.curvature
    shift = loadings.T @ (terms.slope + terms.curvature * (loadings @ means))
    return Sites(precision.reshape(len(precision), size, size, -1), shift)


def _expansion(options: Options, readout: Readout, counts: Counts, path: Array) -> tuple[Sites, Array]:
    """Nodes, and their log-constant [time, sequence], which equal the log-probability of the counts and its first two derivatives at the path."""
    terms = _terms(options, readout, counts, path)
    drive = readout.loadings @ path
    return _sites(readout, terms, path), (terms.value - drive * (terms.slope + 0.5 * terms.curvature * drive)).sum(1)


def _expected_sites(sites: Sites, found: Posterior) -> Array:
    """Average log of the nodes without their constants, [time, sequence]."""
    assert found.covariances is not None
    second = found.covariances + found.means[:, :, None] * found.means[:, None]
    return jnp.sum(sites.shift * found.means, 1) - 0.5 * jnp.sum(sites.precision * second, (1, 2))


def _mode(options: Options, law: Law, readout: Readout, counts: Counts) -> tuple[Array, Array]:
    """Mode of the path [time, d, sequence], and whether it was reached [sequence].

    A point is a path z with the pull α for which z = prior mean + K α, K the prior's covariance: then the log-prior is -αᵀ(z - prior mean)/2 without the
    inverse of anything, and any mixture of two points is one. The mode is where α is the slope of the log-probability of the counts.
    """
    loadings = readout.loadings
    rest = prior_means(law, len(counts.values), counts.lengths)

    def solve(terms: Terms, path: Array) -> tuple[Array, Array]:
        """The point that Newton's method proposes."""
        new = posterior(law, _sites(readout, terms, path), counts.lengths, options.backend, False).means
        return new, loadings.T @ (terms.slope - terms.curvature * (loadings @ (new - path)))

    def evaluate(point: tuple[Array, Array]):
        path, pull = point
        terms = _terms(options, readout, counts, path)
        value = terms.value.sum((0, 1)) - 0.5 * jnp.sum(pull * (path - rest), (0, 1))
        target = solve(terms, path)
        step = (target[0] - path, target[1] - pull)
        # Newton's decrement: twice what the step promises to gain, without subtracting large sums.
        return value, step, jnp.sum(step[0] * (loadings.T @ terms.slope - pull), (0, 1))

    def value_of(point: tuple[Array, Array]) -> Array:
        return _terms(options, readout, counts, point[0]).value.sum((0, 1)) - 0.5 * jnp.sum(point[1] * (point[0] - rest), (0, 1))

    # From where smoothed counts would have the path; the prior mean can be far off, and Newton's method slow from there.
    rates = (counts.nearby + expected_rates(options.link, readout.offset)) / (counts.exposure + 1.0)
    near = inverse_link(options.link, rates)
    terms = count_terms(options.link, counts.values, near).where(counts.observed)
    precision = _sites(readout, terms, jnp.zeros_like(rest)).precision
    shift = loadings.T @ (terms.slope + terms.curvature * (near - readout.offset))
    new = posterior(law, Sites(precision, shift), counts.lengths, options.backend, False).means
    told = (precision * new[:, None]).sum(2)
    start = (new, shift - told)
    unmoved = (rest, jnp.zeros_like(rest))
    start = _where(value_of(start) > value_of(unmoved), start, unmoved)
    # The last step is taken too, and squares what is left. A chain of many steps settles step by step, so what each may leave is what counts.
    eps = float(jnp.finfo(rest.dtype).eps)
    end = climb(evaluate, start, eps**0.75 * counts.lengths)
    return end.point[0], end.done & jnp.isfinite(end.value)


def _best_sites(options: Options, law: Law, readout: Readout, counts: Counts) -> tuple[Sites, Posterior, Array]:
    """Sites of largest evidence lower bound, their posterior, and whether they were reached [sequence]."""
    path, reached = _mode(options, law, readout, counts)
    start = _sites(readout, _terms(options, readout, counts, path), path)

    def evaluate(sites: Sites):
        found = posterior(law, sites, counts.lengths, options.backend, True)
        assert found.covariances is not None
        assert found.log_normaliser is not None
        terms = _terms(options, readout, counts, found.means, found.covariances)
        value = found.log_normaliser + (terms.value.sum(1) - _expected_sites(sites, found)).sum(0)
        step = jax.tree.map(jnp.subtract, _sites(readout, terms, found.means), sites)
        # The gradient in each latent's mean and covariance, measured by that latent's own covariance.
        gradient = step.shift - jnp.einsum("tijs,tjs->tis", step.precision, found.means)
        spread = jnp.einsum("tijs,tjks->tiks", step.precision, found.covariances)
        left = jnp.einsum("tis,tijs,tjs->s", gradient, found.covariances, gradient) + 0.5 * jnp.einsum("tijs,tjis->s", spread, spread)
        return value, step, left

    eps = float(jnp.finfo(path.dtype).eps)
    end = climb(evaluate, start, eps * counts.lengths)
    return end.point, posterior(law, end.point, counts.lengths, options.backend, True), reached & end.done & jnp.isfinite(end.value)


def climb(evaluate, start: Any, enough: Array) -> Climb:
    """Climbs in every sequence until its step promises next to nothing; a candidate that does not hold its promise shortens the step.

    Args:
        evaluate: from a point to its value, the step from it and what that promises, twice the gain in nats; each [sequence].
        start: the first candidate, a pytree whose leaves end in [sequence].
        enough: the promise that ends the climb, [sequence]; the step that makes it is still taken.
    """
    num_sequences, dtype = len(enough), enough.dtype
    eps = float(jnp.finfo(dtype).eps)

    def advance(state: Climb) -> Climb:
        candidate = jax.tree.map(lambda point, step: point + state.size * step, state.point, state.step)
        value, step, left = evaluate(candidate)
        # The value is a sum of many terms; near the top, differences are rounding.
        slack = 64 * eps * (1 + jnp.abs(value))
        usable = jnp.isfinite(value) & jnp.isfinite(left)
        taken = ~state.done & usable & ((value >= state.value - slack) | ~jnp.isfinite(state.value))
        last = taken & (left <= enough)
        point = _where(taken, candidate, state.point)
        step = _where(taken, step, state.step)
        point = _where(last, jax.tree.map(jnp.add, point, step), point)
        # A step of less than a millionth that still does not rise is rounding, too, if little was promised.
        stuck = ~state.done & ~taken & (state.size < 1e-6) & (state.left <= jnp.sqrt(eps) * (1 + jnp.abs(state.value)))
        return Climb(
            point,
            jnp.where(taken, value, state.value),
            step,
            jnp.where(taken, 1.0, 0.25 * state.size),
            jnp.where(taken, left, state.left),
            state.done | last | stuck,
            state.count + 1,
        )

    def unfinished(state: Climb) -> Array:
        return ~state.done.all() & (state.count < _MOST_CANDIDATES)

    ones = jnp.ones(num_sequences, dtype)
    first = Climb(start, -jnp.inf * ones, jax.tree.map(jnp.zeros_like, start), ones, jnp.inf * ones, ones < 0, jnp.int32(0))
    return jax.lax.while_loop(unfinished, advance, first)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _mode_moves(options: Options, law: Law, readout: Readout, path: Array, counts: Counts) -> Array:
    """Zero for every sequence, with the derivative that the log-normaliser has by the path's being the mode.

    By v, the log-normaliser's gradient in the path it is expanded at, that is v · dz. The path that Newton proposes, of which the mode is one, is the mean
    of a chain with fixed precisions, whose log-normaliser F is quadratic in the shift h, with the mean as gradient. So v · z = (F(h + v) - F(h - v)) / 2,
    exactly, and dz needs no derivative of a recursion.
    """
    return jnp.zeros(counts.values.shape[-1], counts.values.dtype)


@_mode_moves.defjvp
def _mode_moves_jvp(options: Options, primals: tuple, tangents: tuple):
    law, readout, path, counts = primals

    (sites, constant), pulled_back = jax.vjp(lambda path: _expansion(options, readout, counts, path), path)
    found = posterior(law, sites, counts.lengths, options.backend, True)
    assert found.covariances is not None
    second = found.covariances + found.means[:, :, None] * found.means[:, None]
    (across,) = pulled_back((Sites(-0.5 * second, found.means), jnp.ones_like(constant)))
    across = jnp.transpose(across, (2, 0, 1))
    terms = _terms(options, readout, counts, path)
    held = _sites(readout, terms, path)
    precision = jnp.transpose(held.precision, (3, 0, 1, 2))[None]
    steady = readout.loadings.T @ (terms.curvature * (readout.loadings @ path))

    def proposed(law: Law, readout: Readout) -> Array:
        shift = readout.loadings.T @ _terms(options, readout, counts, path).slope + steady
        shift = jnp.transpose(shift, (2, 0, 1))
        # What changes from step to step gets a dimension for the two chains.
        edges = [leaf if leaf.ndim == rank else leaf[None] for leaf, rank in zip(law.edges, (2, 1, 2), strict=True)]
        nodes = Information(precision, jnp.stack([shift + across, shift - across]))
        lengths = jnp.broadcast_to(counts.lengths, (2, *counts.lengths.shape))
        matrix, bias, covariance = edges
        both = GaussianChain(law.initial_mean, law.initial_covariance, matrix, bias, covariance, nodes, lengths, backend=options.backend)
        up, down = both.log_normaliser()
        return 0.5 * (up - down)

    change = jax.jvp(proposed, (law, readout), tuple(tangents[:2]))[1]
    return _mode_moves(options, law, readout, path, counts), change


def _where(condition: Array, new: Any, old: Any) -> Any:
    """Choice by sequence, the last dimension of every leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
