"""A filter run over a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax import Array

from .model import NonlinearModel
from .particle import Particle, terms_of
from .strategy import Strategy, emission_of


class Filtered(eqx.Module):
    """What a filter says of each latent given the observations up to its own.

    Attributes:
        means: [time, d].
        covariances: [time, d, d].
        log_increments: log-density of each observation given those before, [time]; exact, approximate or estimated, as the filter is.
    """

    means: Array
    covariances: Array
    log_increments: Array

    @property
    def log_likelihood(self) -> Array:
        """Of the whole sequence, []."""
        return self.log_increments.sum(-1)


def filter(strategy: Strategy, model: NonlinearModel, observations: Any, key: Array | None = None) -> Filtered:  # noqa: A001 - the public name
    """Runs a nonlinear filter over one sequence; `jax.vmap` runs it over many.

    The first observation belongs to the first latent: it is updated on before anything is predicted.

    Args:
        strategy: `Extended()`, `Iterated()`, `Unscented()` or `Particle()`.
        model: with an `emission`, or for the particle filter a `log_likelihood`.
        observations: [time, N]; NaN marks a missing entry, which adds nothing.
        key: random key, for the particle filter.

    Returns:
        See `Filtered`.

    Raises:
        TypeError: no strategy or no model.
        ValueError: observations of a wrong shape, infinite ones or none; a particle filter without key, with a singular noise covariance, or with entries
            missing from a row although its `log_likelihood` gives one number for the whole row.

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> model = filters.NonlinearModel(jnp.zeros(1), jnp.eye(1), jnp.sin, jnp.eye(1), emission=lambda z: z, emission_covariance=jnp.eye(1))
        >>> filtered = filters.filter(filters.Unscented(), model, jnp.array([[1.0], [jnp.nan]]))
        >>> filtered.means.shape, bool(filtered.log_increments[1] == 0.0)
        ((2, 1), True)
    """
    _check_strategy(strategy, model, key)
    own = isinstance(strategy, Particle) and model.log_likelihood is not None
    width = model.emission_dim
    if not own:
        width = emission_of(model)[1].shape[-1]
    values = jnp.asarray(observations, float)
    if values.ndim != 2 or values.shape[0] == 0 or (width is not None and values.shape[1] != width):
        expected = "[time, entry]" if width is None else f"[time, {width}]"
        raise ValueError(f"observations: found shape {values.shape}, expected {expected} with at least one step.")
    observed = ~jnp.isnan(values)
    values = jnp.where(observed, values, 0.0)
    whole = own and terms_of(model, values[0]) == ()
    if not isinstance(values, jax.core.Tracer):
        infinite = np.argwhere(np.isinf(np.asarray(values)))
        if infinite.size:
            raise ValueError(f"observations: found infinity at step {infinite[0][0]}, entry {infinite[0][1]}; expected finite numbers, and NaN where missing.")
        seen = np.asarray(observed)
        partly = np.flatnonzero(seen.any(1) & ~seen.all(1))
        if whole and partly.size:
            raise ValueError(
                f"observations: found missing entries at step {partly[0]}, but `log_likelihood` gives one number for a whole row; expected it to give one term "
                "per entry, so that missing ones can be left out."
            )
    if isinstance(strategy, Particle) and not own:
        _check_regular(emission_of(model)[1])
    return _filter(strategy, model, values, observed, key)


def filter_information(
    strategy: Strategy, model: NonlinearModel, precisions: Any, shifts: Any, log_constants: Any = None, key: Array | None = None
) -> Filtered:
    """As `filter`, with information updates in place of observations: the discriminative Kalman filter with nonlinear dynamics.

    Args:
        strategy: whose prediction is used.
        model: its dynamics are used, its emission is not.
        precisions: J, [time, d, d], or one [d, d] for all steps.
        shifts: h, [time, d].
        log_constants: c, [time]; None for 0.
        key: random key, for the particle filter.

    Raises:
        TypeError: no strategy or no model.
        ValueError: shapes that do not fit, NaN or infinity, or a particle filter without key.

    Example:
        >>> import jax.numpy as jnp
        >>> import latentgate.filters as filters
        >>> model = filters.NonlinearModel(jnp.zeros(1), jnp.eye(1), jnp.sin, jnp.eye(1))
        >>> filters.filter_information(filters.Extended(), model, jnp.eye(1), jnp.ones((1, 1))).means.round(6).tolist()
        [[0.5]]
    """
    _check_strategy(strategy, model, key)
    precisions, shifts = jnp.asarray(precisions, float), jnp.asarray(shifts, float)
    size = model.latent_dim
    if shifts.ndim != 2 or shifts.shape[0] == 0 or shifts.shape[1] != size:
        raise ValueError(f"shifts: found shape {shifts.shape}, expected [time, {size}] with at least one step.")
    steps = shifts.shape[0]
    if precisions.shape not in ((steps, size, size), (size, size)):
        raise ValueError(f"precisions: found shape {precisions.shape}, expected ({steps}, {size}, {size}) or ({size}, {size}).")
    constants = jnp.zeros(steps, shifts.dtype) if log_constants is None else jnp.asarray(log_constants, float)
    if constants.shape != (steps,):
        raise ValueError(f"log_constants: found shape {constants.shape}, expected ({steps},).")
    for name, array in (("precisions", precisions), ("shifts", shifts), ("log_constants", constants)):
        if not isinstance(array, jax.core.Tracer) and not np.isfinite(np.asarray(array)).all():
            raise ValueError(f"{name}: found NaN or infinity, expected finite numbers; a step without data has zeros.")
    return _filter_information(strategy, model, jnp.broadcast_to(precisions, (steps, size, size)), shifts, constants, key)


@eqx.filter_jit
def _filter(strategy: Strategy, model: NonlinearModel, values: Array, observed: Array, key: Array | None) -> Filtered:
    return _scan(strategy, model, key, (values, observed), lambda belief, row: strategy.update(model, belief, *row))


@eqx.filter_jit
def _filter_information(strategy: Strategy, model: NonlinearModel, precisions: Array, shifts: Array, constants: Array, key: Array | None) -> Filtered:
    return _scan(strategy, model, key, (precisions, shifts, constants), lambda belief, row: belief.update_information(*row))


def _scan(strategy: Strategy, model: NonlinearModel, key: Array | None, rows: Any, update: Callable[[Any, Any], tuple[Any, Array]]) -> Filtered:
    def step(predicted: Any, row: Any) -> tuple[Any, Filtered]:
        belief, increment = update(predicted, row)
        return strategy.predict(model, belief), Filtered(belief.mean, belief.covariance, increment)

    return jax.lax.scan(step, strategy.init(model, key), rows)[1]


def _check_strategy(strategy: Any, model: Any, key: Array | None) -> None:
    if not isinstance(strategy, Strategy):
        found = f"the class {strategy.__name__}" if isinstance(strategy, type) else type(strategy).__name__
        raise TypeError(f"strategy: found {found}, expected an instance of one in latentgate.filters, for instance Extended().")
    if not isinstance(model, NonlinearModel):
        raise TypeError(f"model: found {type(model).__name__}, expected a NonlinearModel.")
    if isinstance(strategy, Particle) and key is None:
        raise ValueError("key: found None, expected a random key, for instance jax.random.key(0): the particle filter draws numbers.")


def _check_regular(covariance: Array) -> None:
    if isinstance(covariance, jax.core.Tracer):
        return
    try:
        np.linalg.cholesky(np.asarray(covariance))
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "emission_covariance: found a singular matrix, expected a positive definite one: the particle filter needs a density. Use another filter."
        ) from error
