"""The table of emissions over which every law of `test_emissions.py` runs: emission, parameters, tiny data, and an independent density.

A row with `density=None` is only left out of the comparison with that density.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import scipy.special
import scipy.stats

import latentgate as lg
from latentgate.models.distributions import Dirichlet, InverseWishart
from latentgate.models.patterns import contrasts

NUM_STATES = 3
LENGTHS = (7, 4, 6)
NUM_INPUTS = 2


class Row(NamedTuple):
    """One emission under test.

    Attributes:
        name: of the row.
        emission: with the default priors.
        params: of three states, NumPy.
        values: one array [time, feature] a sequence.
        inputs: one array [time, input] a sequence, or None.
        density: (params, state, y [feature] with NaN where missing, inputs [input]) -> log-density, by another library.
        other_priors: {attribute of the emission: another prior of the same family}; each must change the M-step.
        converges: whether iterated M-steps reach a stationary point within the test's iterations.
        interchangeable: whether states can be renamed; labels of states anchor them.
    """

    name: str
    emission: Any
    params: dict[str, np.ndarray]
    values: list[np.ndarray]
    inputs: list[np.ndarray] | None
    density: Callable | None
    other_priors: dict[str, dist.Distribution]
    converges: bool = True
    interchangeable: bool = True


def _seen(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values)


def gaussian_density(params, state, y, inputs):
    """Marginal multivariate normal of the entries seen."""
    seen = _seen(y)
    if not seen.any():
        return 0.0
    covariance = params["covariances"]
    if covariance.shape == (NUM_STATES, y.size):
        covariance = np.diag(covariance[state])
    elif covariance.ndim == 3:
        covariance = covariance[state]
    return scipy.stats.multivariate_normal(params["means"][state][seen], covariance[np.ix_(seen, seen)]).logpdf(y[seen])


def _independent(log_density: Callable) -> Callable:
    def density(params, state, y, inputs):
        return sum(log_density(params, state, n, y[n], inputs) for n in np.flatnonzero(_seen(y)))

    return density


@_independent
def poisson_density(params, state, n, y, inputs):
    return scipy.stats.poisson(params["rates"][state, n]).logpmf(y)


@_independent
def negative_binomial_density(params, state, n, y, inputs):
    concentration = params["concentration"][n]
    return scipy.stats.nbinom(concentration, concentration / (concentration + params["rates"][state, n])).logpmf(y)


@_independent
def bernoulli_density(params, state, n, y, inputs):
    return scipy.stats.bernoulli(params["probs"][state, n]).logpmf(y)


@_independent
def categorical_density(params, state, n, y, inputs):
    with np.errstate(divide="ignore"):
        return np.log(params["probs"][state, int(y)])


@_independent
def misclassified_density(params, state, n, y, inputs):
    odds = params["probs"][state] * np.exp(params["weights"][state] @ inputs)
    with np.errstate(divide="ignore"):
        return np.log(odds[int(y)] / odds.sum())


def known_state_density(params, state, y, inputs):
    allowed = {7: (0, 1), 9: (0, 1, 2)}
    agrees = np.isnan(y[0]) or state in allowed.get(int(y[0]), (int(y[0]),))
    return (0.0 if agrees else -np.inf) + poisson_density({"rates": params["rate.rates"]}, state, y[1:], inputs)


def uniform_error_density(params, state, y, inputs):
    error = params["label.error"]
    law = np.where(np.arange(K) == state, 1.0 - error, error / (K - 1))
    label = 0.0 if np.isnan(y[0]) else np.log(law[int(y[0])])
    return label + poisson_density({"rates": params["rate.rates"]}, state, y[1:], inputs)


@_independent
def regression_density(params, state, n, y, inputs):
    weights = params["weights"] if params["weights"].ndim == 2 else params["weights"][state]
    mean = weights[n] @ inputs + params["bias"][state, n]
    return scipy.stats.norm(mean, np.sqrt(params["covariances"][state, n])).logpdf(y)


@_independent
def bernoulli_glm_density(params, state, n, y, inputs):
    log_odds = params["weights"][state] @ inputs + params.get("bias", np.zeros(NUM_STATES))[state]
    return scipy.special.log_expit(log_odds if y == 1 else -log_odds)


@_independent
def categorical_glm_density(params, state, n, y, inputs):
    return scipy.special.log_softmax([0.0, *(params["weights"][state] @ inputs + params["bias"][state])])[int(y)]


def product_density(params, state, y, inputs):
    choice = {name[7:]: value for name, value in params.items() if name.startswith("choice.")}
    time = {name[5:]: value for name, value in params.items() if name.startswith("time.")}
    return bernoulli_glm_density(choice, state, y[:1], inputs) + gaussian_density(time, state, y[1:], inputs)


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _per_sequence(draw: Callable[[int], np.ndarray]) -> list[np.ndarray]:
    return [np.asarray(draw(length), float) for length in LENGTHS]


def _covariances(seed: int, size: int, *batch: int) -> np.ndarray:
    rows = _random(seed).normal(size=(*batch, size, size + 2))
    return rows @ rows.swapaxes(-1, -2) / size


def _normal_values(seed: int, size: int) -> list[np.ndarray]:
    rng = _random(seed)
    mix = rng.normal(size=(size, size))
    return _per_sequence(lambda length: rng.normal(size=(length, size)) @ mix + rng.integers(0, 3, size=(length, 1)))


def _inputs(seed: int = 50) -> list[np.ndarray]:
    rng = _random(seed)
    return _per_sequence(lambda length: rng.normal(size=(length, NUM_INPUTS)))


def _categories(seed: int, num_categories: int, size: int = 1) -> list[np.ndarray]:
    rng = _random(seed)
    return _per_sequence(lambda length: rng.integers(0, num_categories, size=(length, size)))


def _simplex(seed: int, size: int) -> np.ndarray:
    return _random(seed).dirichlet(np.full(size, 2.0), size=NUM_STATES)


# Arrays, not numbers: the laws then compile once for all priors of a family.
def _normal(mean: float, scale: float) -> dist.Normal:
    return dist.Normal(jnp.asarray(mean), jnp.asarray(scale))


def _patterned(seed: int, allowed: np.ndarray) -> np.ndarray:
    values = np.where(allowed, _random(seed).gamma(2.0, size=allowed.shape), 0.0)
    return values / values.sum(1, keepdims=True)


def _known_states(seed: int) -> list[np.ndarray]:
    rng = _random(seed)
    columns = _per_sequence(lambda length: rng.choice([0, 1, 2, 7, 9], size=(length, 1)))
    for column in columns:
        # Where the laws put all weight on the first state.
        column[1] = 7
    return columns


K, N = NUM_STATES, 2
# The second label says nothing sure, as the laws' weights ask of the second step.
_allowed = np.array([[True, True, False], [True, True, True], [False, True, True]])
_labels = _categories(15, 3)
for _column in _labels:
    _column[1] = 1
_rng = _random(0)
_means = _rng.normal(size=(K, N))
_regression = {
    "weights": _rng.normal(size=(K, N, NUM_INPUTS)),
    "bias": _rng.normal(size=(K, N)),
    "covariances": _rng.gamma(3.0, 0.5, size=(K, N)),
}
_choice = {"weights": _rng.normal(size=(K, NUM_INPUTS)), "bias": _rng.normal(size=K)}
_counts = _per_sequence(lambda length: _rng.negative_binomial(2.0, 0.4, size=(length, N)))

EMISSIONS = [
    Row(
        "gaussian_full",
        lg.emissions.Gaussian(N),
        {"means": _means, "covariances": _covariances(1, N, K)},
        _normal_values(2, N),
        None,
        gaussian_density,
        {"mean_prior": _normal(3.0, 0.7), "covariance_prior": InverseWishart(jnp.asarray(9.0), scale_tril=3.0 * jnp.eye(N))},
    ),
    Row(
        "gaussian_diagonal",
        lg.emissions.Gaussian(N, covariance="diagonal"),
        {"means": _means, "covariances": _rng.gamma(3.0, 0.5, size=(K, N))},
        _normal_values(3, N),
        None,
        gaussian_density,
        {"mean_prior": _normal(3.0, 0.7), "covariance_prior": dist.InverseGamma(jnp.asarray(4.0), jnp.asarray(3.0))},
    ),
    Row(
        "gaussian_tied",
        lg.emissions.Gaussian(N, covariance="tied"),
        {"means": _means, "covariances": _covariances(4, N)},
        _normal_values(5, N),
        None,
        gaussian_density,
        {"mean_prior": _normal(3.0, 0.7), "covariance_prior": InverseWishart(jnp.asarray(9.0), scale_tril=3.0 * jnp.eye(N))},
    ),
    Row(
        "poisson",
        lg.emissions.Poisson(N),
        {"rates": _rng.gamma(2.0, 1.0, size=(K, N))},
        _counts,
        None,
        poisson_density,
        {"prior": dist.Gamma(jnp.asarray(3.0), jnp.asarray(2.0))},
    ),
    Row(
        "negative_binomial",
        lg.emissions.NegativeBinomial(N),
        {"rates": _rng.gamma(2.0, 1.0, size=(K, N)), "concentration": np.array([1.5, 6.0])},
        _counts,
        None,
        negative_binomial_density,
        {"rate_prior": dist.Gamma(jnp.asarray(3.0), jnp.asarray(2.0)), "concentration_prior": dist.Gamma(jnp.asarray(4.0), jnp.asarray(1.0))},
    ),
    Row(
        "bernoulli",
        lg.emissions.Bernoulli(N),
        {"probs": _rng.uniform(0.1, 0.9, size=(K, N))},
        _categories(6, 2, N),
        None,
        bernoulli_density,
        {"prior": dist.Beta(jnp.asarray(3.0), jnp.asarray(2.0))},
    ),
    Row(
        "categorical",
        lg.emissions.Categorical(4),
        {"probs": _simplex(7, 4)},
        _categories(8, 4),
        None,
        categorical_density,
        {"prior": Dirichlet(jnp.array([2.0, 1.0, 3.0, 1.5]))},
    ),
    Row(
        "linear_regression",
        lg.emissions.LinearRegression(N, NUM_INPUTS),
        _regression,
        _normal_values(9, N),
        _inputs(),
        regression_density,
        {
            "weight_prior": _normal(1.0, 0.5),
            "bias_prior": _normal(-1.0, 0.5),
            "covariance_prior": dist.InverseGamma(jnp.asarray(4.0), jnp.asarray(3.0)),
        },
    ),
    Row(
        "linear_regression_tied",
        lg.emissions.LinearRegression(N, NUM_INPUTS, tied=True),
        {**_regression, "weights": _regression["weights"][0]},
        _normal_values(9, N),
        _inputs(),
        regression_density,
        {
            "weight_prior": _normal(1.0, 0.5),
            "bias_prior": _normal(-1.0, 0.5),
            "covariance_prior": dist.InverseGamma(jnp.asarray(4.0), jnp.asarray(3.0)),
        },
    ),
    Row(
        "misclassified",
        lg.emissions.Misclassified(_allowed),
        {"probs": _patterned(16, _allowed)},
        _labels,
        None,
        categorical_density,
        {"prior": Dirichlet(jnp.array([2.0, 1.0, 3.0]))},
        interchangeable=False,
    ),
    Row(
        "misclassified_with_inputs",
        lg.emissions.Misclassified(_allowed, NUM_INPUTS),
        {"probs": _patterned(17, _allowed), "weights": _random(18).normal(size=(K, 3, NUM_INPUTS)) * contrasts(_allowed)[..., None]},
        _labels,
        _inputs(),
        misclassified_density,
        {"prior": Dirichlet(jnp.array([2.0, 1.0, 3.0])), "weight_prior": _normal(1.0, 0.5)},
        interchangeable=False,
    ),
    Row(
        "known_state",
        lg.emissions.Product(state=lg.emissions.KnownState(K, censored={7: (0, 1), 9: (0, 1, 2)}), rate=lg.emissions.Poisson(1)),
        {"rate.rates": np.array([[0.5], [2.0], [5.0]])},
        [np.hstack([known, counts[:, :1]]) for known, counts in zip(_known_states(19), _counts, strict=True)],
        None,
        known_state_density,
        {},
        interchangeable=False,
    ),
    Row(
        "uniform_error",
        lg.emissions.Product(label=lg.emissions.UniformError(K), rate=lg.emissions.Poisson(1)),
        {"label.error": np.array(0.15), "rate.rates": np.array([[0.5], [2.0], [5.0]])},
        [np.hstack([label, counts[:, :1]]) for label, counts in zip(_categories(22, 3), _counts, strict=True)],
        None,
        uniform_error_density,
        {},
        interchangeable=False,
    ),
    Row(
        "aggregated",
        lg.emissions.Aggregated(lg.emissions.Poisson(N), [1, 0, 1]),
        {"rates": np.array([[0.5] * N, [3.0] * N])},
        _counts,
        None,
        lambda params, state, y, inputs: poisson_density({"rates": params["rates"][[1, 0, 1]]}, state, y, inputs),
        {},
        interchangeable=False,
    ),
    Row(
        "bernoulli_glm",
        lg.emissions.BernoulliGLM(NUM_INPUTS),
        _choice,
        _categories(10, 2),
        _inputs(),
        bernoulli_glm_density,
        {"weight_prior": _normal(1.0, 0.5), "bias_prior": _normal(-1.0, 0.5)},
    ),
    Row(
        "categorical_glm",
        lg.emissions.CategoricalGLM(3, NUM_INPUTS),
        {"weights": _rng.normal(size=(K, 2, NUM_INPUTS)), "bias": _rng.normal(size=(K, 2))},
        _categories(11, 3),
        _inputs(),
        categorical_glm_density,
        {"weight_prior": _normal(1.0, 0.5), "bias_prior": _normal(-1.0, 0.5)},
    ),
    Row(
        "product",
        lg.emissions.Product(choice=lg.emissions.BernoulliGLM(NUM_INPUTS), time=lg.emissions.Gaussian(N, covariance="diagonal")),
        {
            **{f"choice.{name}": value for name, value in _choice.items()},
            "time.means": _means,
            "time.covariances": _rng.gamma(3.0, 0.5, size=(K, N)),
        },
        [np.hstack(pair) for pair in zip(_categories(13, 2), _normal_values(14, N), strict=True)],
        _inputs(),
        product_density,
        {},
    ),
]
