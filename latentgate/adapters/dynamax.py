"""Models to and from dynamax: structure, parameters, and the priors that both libraries have.

Conventions that differ, all settled here: dynamax keeps standard deviations where latentgate keeps variances (diagonal Gaussians), and weights of every class
where latentgate has log-odds against class 0 (categorical regression). Priors are taken over for the first state, the transitions, Poisson, Bernoulli and
categorical emissions, and logistic weights; elsewhere the two libraries have priors of different kinds, and the defaults of the library gone to hold.
Linear Gaussian models: see `latentgate.adapters.dynamax_linear`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpyro import distributions as dist

from latentgate.models import HMM, LinearGaussianSSM, emissions, transitions
from latentgate.models.base import Params
from latentgate.models.emissions.base import Emission
from latentgate.models.initial import FreeInitial

from . import dynamax_linear, requirement

try:
    from dynamax import hidden_markov_model as theirs
    from dynamax.hidden_markov_model.models import (
        bernoulli_hmm,
        categorical_glm_hmm,
        categorical_hmm,
        gaussian_hmm,
        initial,
        linreg_hmm,
        logreg_hmm,
        poisson_hmm,
    )
    from dynamax.hidden_markov_model.models import transitions as their_transitions
except ImportError as error:
    raise requirement("dynamax", "dynamax", "dynamax") from error


@dataclass(frozen=True)
class _Counterpart:
    """How one emission of latentgate and one HMM of dynamax become each other.

    Attributes:
        ours: class of the emission.
        params: dynamax's container of all parameters.
        take: (dynamax's emission component, its parameters) -> (emission, its parameters).
        give: (emission, number of states, its parameters, options for every HMM) -> (dynamax's HMM, its emission parameters).
        variant: the `covariance` of a Gaussian.
    """

    ours: type[Emission]
    params: Any
    take: Callable[[Any, Any], tuple[Emission, Params]]
    give: Callable[[Any, int, Params, dict], tuple[Any, Any]] | None
    variant: str | None = None


def from_dynamax(hmm: Any, params: Any) -> tuple[HMM | LinearGaussianSSM, Params]:
    """A dynamax HMM or linear Gaussian model as a latentgate model and its parameters.

    A spherical Gaussian becomes a diagonal one, which has more parameters but here the same values.

    Args:
        hmm: of `dynamax.hidden_markov_model`: Poisson, Gaussian (full, diagonal, spherical, shared covariance), Bernoulli, categorical, linear, logistic or
            categorical regression; or a linear Gaussian model of `dynamax.linear_gaussian_ssm`.
        params: its parameters, as `hmm.initialize` returns them.

    Returns:
        the model and {dotted name: array}, as `lg.fit(..., start=...)` and every method of the model take them.

    Raises:
        TypeError: for a model without counterpart.
        ValueError: for a categorical HMM of several columns, a linear regression whose covariances are not diagonal, or a linear model that changes in time.

    Warns:
        UserWarning: where a prior has a form that latentgate lacks, so that latentgate's default takes its place.

    Example:
        >>> import jax, numpy as np, latentgate as lg
        >>> from dynamax.hidden_markov_model import PoissonHMM
        >>> from latentgate.adapters.dynamax import from_dynamax
        >>> theirs = PoissonHMM(num_states=2, emission_dim=3)
        >>> model, params = from_dynamax(theirs, theirs.initialize(jax.random.key(0))[0])
        >>> params["emission.rates"].shape
        (2, 3)
    """
    if isinstance(hmm, dynamax_linear.KINDS):
        return dynamax_linear.from_dynamax_linear(hmm, params)
    counterpart = _COUNTERPARTS.get(type(hmm))
    if counterpart is None:
        known = ", ".join(kind.__name__ for kind in (*_COUNTERPARTS, *dynamax_linear.KINDS))
        raise TypeError(f"hmm: found {type(hmm).__name__}, expected one of dynamax's {known}.")
    emission, ours = counterpart.take(hmm.emission_component, params.emissions)
    concentration = _number(hmm.initial_component.initial_probs_concentration, "the first state")
    options: dict[str, Any] = {} if concentration is None else {"initial_concentration": concentration}
    model = HMM(hmm.num_states, emission, _transition(np.asarray(hmm.transition_component.concentration)), **options)
    return model, {
        "initial.probs": jnp.asarray(params.initial.probs),
        "transition.probs": jnp.asarray(params.transitions.transition_matrix),
        **{f"emission.{name}": jnp.asarray(value) for name, value in ours.items()},
    }


def to_dynamax(model: HMM | LinearGaussianSSM, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """A latentgate HMM or linear Gaussian model as a dynamax model and its parameters.

    Args:
        model: an HMM with constant transitions and an emission that `from_dynamax` can produce, or a linear Gaussian model in discrete time.
        params: {dotted name: array}, for example `fit.params`.

    Returns:
        dynamax's model and parameters; dynamax's properties, which its `fit_em` also wants, are `hmm.initialize()[1]`.

    Raises:
        TypeError: for a model without counterpart.
        ValueError: if parameters are absent.

    Warns:
        UserWarning: where a prior has a form that dynamax lacks, so that dynamax's default takes its place.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from latentgate.adapters.dynamax import to_dynamax
        >>> params = {"initial.probs": [0.5, 0.5], "transition.probs": np.full((2, 2), 0.5), "emission.rates": [[1.0], [5.0]]}
        >>> hmm, theirs = to_dynamax(lg.HMM(2, lg.emissions.Poisson(1)), params)
        >>> float(hmm.marginal_log_prob(theirs, np.array([[0], [6]]))) < 0
        True
    """
    if isinstance(model, LinearGaussianSSM):
        return dynamax_linear.to_dynamax_linear(model, params)
    if not isinstance(model, HMM):
        raise TypeError(f"model: found {type(model).__name__}, expected lg.HMM or lg.LinearGaussianSSM.")
    matching = [
        counterpart
        for counterpart in _COUNTERPARTS.values()
        if counterpart.give and type(model.emission) is counterpart.ours and counterpart.variant == getattr(model.emission, "covariance", None)
    ]
    if not matching:
        known = ", ".join(dict.fromkeys(counterpart.ours.__name__ for counterpart in _COUNTERPARTS.values()))
        raise TypeError(f"model.emission: found {type(model.emission).__name__}, expected one that dynamax has too: {known}.")
    if not isinstance(model.transition, transitions.Stationary | transitions.Sticky):
        raise TypeError(f"model.transition: found {type(model.transition).__name__}, expected Stationary or Sticky; dynamax has no others.")
    if not isinstance(model.initial, FreeInitial):
        raise TypeError(f"model.initial: found {type(model.initial).__name__}, expected free probabilities (initial='free'); dynamax has no others.")
    absent = [name for name in model.dims() if name not in params]
    if absent:
        raise ValueError(f"params: found no {absent[0]!r}, expected {', '.join(model.dims())}.")
    arrays = {name: jnp.asarray(params[name]) for name in model.dims()}
    options = {
        "initial_probs_concentration": model.initial.concentration,
        "transition_matrix_concentration": model.transition.concentration,
        "transition_matrix_stickiness": getattr(model.transition, "stickiness", 0.0),
    }
    own = {name.removeprefix("emission."): value for name, value in arrays.items() if name.startswith("emission.")}
    assert matching[0].give is not None
    hmm, emission_params = matching[0].give(model.emission, model.num_states, own, options)
    return hmm, matching[0].params(
        initial=initial.ParamsStandardHMMInitialState(probs=arrays["initial.probs"]),
        transitions=their_transitions.ParamsStandardHMMTransitions(transition_matrix=arrays["transition.probs"]),
        emissions=emission_params,
    )


def _number(value: Any, whose: str) -> float | None:
    """The one number that an array repeats, as the shortest decimal of its precision; None, with a warning, if there are several."""
    array = np.ravel(np.asarray(value))
    if (array != array[0]).any():
        warnings.warn(
            f"prior of {whose}: found several concentrations or scales, expected one number, which is what both libraries take; the default is used.",
            UserWarning,
            stacklevel=4,
        )
        return None
    return float(str(array[0]))


def _transition(concentration: np.ndarray) -> transitions.Transition:
    """Dirichlet concentrations [K, K] of the rows as a prior of latentgate."""
    away = concentration[~np.eye(len(concentration), dtype=bool)]
    base = _number(away if away.size else concentration, "the transitions")
    toward = _number(np.diagonal(concentration), "the transitions")
    if base is None or toward is None or base == toward:
        return transitions.Stationary() if base is None or toward is None else transitions.Stationary(base)
    return transitions.Sticky(stickiness=float(f"{toward - base:.6g}"), concentration=base)


def _prior_numbers(prior: dist.Distribution, family: type, whose: str, **names: str) -> dict[str, Any]:
    """{dynamax's argument: number} from a prior of the family; empty, with a warning, for any other."""
    if not isinstance(prior, family):
        warnings.warn(
            f"prior of {whose}: found {type(prior).__name__}, expected {family.__name__}; dynamax's default is used.",
            UserWarning,
            stacklevel=4,
        )
        return {}
    numbers = {theirs: _number(getattr(prior, ours), whose) for theirs, ours in names.items()}
    return {name: number for name, number in numbers.items() if number is not None}


def _made(family: Callable[..., dist.Distribution], whose: str, *values: Any) -> dist.Distribution | None:
    numbers = [_number(value, whose) for value in values]
    return None if None in numbers else family(*numbers)


def _take_poisson(theirs: Any, params: Any) -> tuple[Emission, Params]:
    prior = _made(dist.Gamma, "emission.rates", theirs.emission_prior_concentration, theirs.emission_prior_rate)
    return emissions.Poisson(theirs.emission_dim, prior), {"rates": params.rates}


def _give_poisson(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    prior = _prior_numbers(emission.prior, dist.Gamma, "emission.rates", emission_prior_concentration="concentration", emission_prior_rate="rate")
    return theirs.PoissonHMM(num_states, emission.num_neurons, **options, **prior), poisson_hmm.ParamsPoissonHMMEmissions(rates=params["rates"])


def _take_bernoulli(theirs: Any, params: Any) -> tuple[Emission, Params]:
    prior = _made(dist.Beta, "emission.probs", theirs.emission_prior_concentration1, theirs.emission_prior_concentration0)
    return emissions.Bernoulli(theirs.emission_dim, prior), {"probs": params.probs}


def _give_bernoulli(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    names = {"emission_prior_concentration1": "concentration1", "emission_prior_concentration0": "concentration0"}
    prior = _prior_numbers(emission.prior, dist.Beta, "emission.probs", **names)
    return theirs.BernoulliHMM(num_states, emission.num_features, **options, **prior), bernoulli_hmm.ParamsBernoulliHMMEmissions(probs=params["probs"])


def _take_categorical(theirs: Any, params: Any) -> tuple[Emission, Params]:
    if theirs.emission_dim != 1:
        raise ValueError(f"hmm: found a categorical HMM of {theirs.emission_dim} columns, expected one; use lg.emissions.Product of several Categorical.")
    prior = dist.Dirichlet(np.array([float(str(value)) for value in np.asarray(theirs.emission_prior_concentration)]))
    return emissions.Categorical(theirs.num_classes, prior), {"probs": params.probs[:, 0]}


def _give_categorical(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    prior: dict[str, Any] = {}
    if isinstance(emission.prior, dist.Dirichlet):
        prior = {"emission_prior_concentration": jnp.broadcast_to(emission.prior.concentration, (emission.num_categories,))}
    else:
        _prior_numbers(emission.prior, dist.Dirichlet, "emission.probs")
    hmm = theirs.CategoricalHMM(num_states, 1, emission.num_categories, **options, **prior)
    return hmm, categorical_hmm.ParamsCategoricalHMMEmissions(probs=params["probs"][:, None])


def _take_gaussian(theirs: Any, params: Any) -> tuple[Emission, Params]:
    return emissions.Gaussian(theirs.emission_dim), {"means": params.means, "covariances": params.covs}


def _give_gaussian(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    values = gaussian_hmm.ParamsGaussianHMMEmissions(means=params["means"], covs=params["covariances"])
    return theirs.GaussianHMM(num_states, emission.num_features, **options), values


def _take_diagonal(theirs: Any, params: Any) -> tuple[Emission, Params]:
    return emissions.Gaussian(theirs.emission_dim, "diagonal"), {"means": params.means, "covariances": jnp.asarray(params.scale_diags) ** 2}


def _give_diagonal(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    values = gaussian_hmm.ParamsDiagonalGaussianHMMEmissions(means=params["means"], scale_diags=jnp.sqrt(params["covariances"]))
    return theirs.DiagonalGaussianHMM(num_states, emission.num_features, **options), values


def _take_spherical(theirs: Any, params: Any) -> tuple[Emission, Params]:
    variances = jnp.broadcast_to(jnp.asarray(params.scales)[:, None] ** 2, jnp.shape(params.means))
    return emissions.Gaussian(theirs.emission_dim, "diagonal"), {"means": params.means, "covariances": variances}


def _take_shared(theirs: Any, params: Any) -> tuple[Emission, Params]:
    return emissions.Gaussian(theirs.emission_dim, "tied"), {"means": params.means, "covariances": params.cov}


def _give_shared(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    values = gaussian_hmm.ParamsSharedCovarianceGaussianHMMEmissions(means=params["means"], cov=params["covariances"])
    return theirs.SharedCovarianceGaussianHMM(num_states, emission.num_features, **options), values


def _take_linear(theirs: Any, params: Any) -> tuple[Emission, Params]:
    variances = jnp.diagonal(params.covs, axis1=-2, axis2=-1)
    if np.any(np.asarray(params.covs - variances[..., None] * jnp.eye(theirs.emission_dim))):
        raise ValueError("params.emissions.covs: found covariances between features, expected diagonal matrices, which is all that LinearRegression has.")
    emission = emissions.LinearRegression(theirs.emission_dim, theirs.input_dim)
    return emission, {"weights": params.weights, "bias": params.biases, "covariances": variances}


def _give_linear(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    covariances = params["covariances"][..., None] * jnp.eye(emission.num_features)
    values = linreg_hmm.ParamsLinearRegressionHMMEmissions(weights=params["weights"], biases=params["bias"], covs=covariances)
    return theirs.LinearRegressionHMM(num_states, emission.num_inputs, emission.num_features, **options), values


def _take_logistic(theirs: Any, params: Any) -> tuple[Emission, Params]:
    prior = _made(lambda scale: dist.Normal(0.0, scale), "emission.weights", theirs.emission_weights_scale)
    return emissions.BernoulliGLM(theirs.input_dim, weight_prior=prior), {"weights": params.weights, "bias": params.biases}


def _give_logistic(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    prior = _prior_numbers(emission.weight_prior, dist.Normal, "emission.weights", emission_matrices_scale="scale")
    bias = params.get("bias", jnp.zeros_like(params["weights"][..., 0]))
    values = logreg_hmm.ParamsLogisticRegressionHMMEmissions(weights=params["weights"], biases=bias)
    return theirs.LogisticRegressionHMM(num_states, emission.num_inputs, **options, **prior), values


def _take_softmax(theirs: Any, params: Any) -> tuple[Emission, Params]:
    emission = emissions.CategoricalGLM(theirs.num_classes, theirs.feature_dim)
    return emission, {name: value[:, 1:] - value[:, :1] for name, value in (("weights", params.weights), ("bias", params.biases))}


def _give_softmax(emission: Any, num_states: int, params: Params, options: dict) -> tuple[Any, Any]:
    def with_reference(odds: Array) -> Array:
        return jnp.concatenate([jnp.zeros_like(odds[:, :1]), odds], axis=1)

    bias = params.get("bias", jnp.zeros_like(params["weights"][..., 0]))
    values = categorical_glm_hmm.ParamsCategoricalRegressionHMMEmissions(weights=with_reference(params["weights"]), biases=with_reference(bias))
    return theirs.CategoricalRegressionHMM(num_states, emission.num_categories, emission.num_inputs, **options), values


_COUNTERPARTS: dict[type, _Counterpart] = {
    theirs.PoissonHMM: _Counterpart(emissions.Poisson, poisson_hmm.ParamsPoissonHMM, _take_poisson, _give_poisson),
    theirs.GaussianHMM: _Counterpart(emissions.Gaussian, gaussian_hmm.ParamsGaussianHMM, _take_gaussian, _give_gaussian, "full"),
    theirs.DiagonalGaussianHMM: _Counterpart(emissions.Gaussian, gaussian_hmm.ParamsDiagonalGaussianHMM, _take_diagonal, _give_diagonal, "diagonal"),
    theirs.SphericalGaussianHMM: _Counterpart(emissions.Gaussian, gaussian_hmm.ParamsSphericalGaussianHMM, _take_spherical, None),
    theirs.SharedCovarianceGaussianHMM: _Counterpart(emissions.Gaussian, gaussian_hmm.ParamsSharedCovarianceGaussianHMM, _take_shared, _give_shared, "tied"),
    theirs.BernoulliHMM: _Counterpart(emissions.Bernoulli, bernoulli_hmm.ParamsBernoulliHMM, _take_bernoulli, _give_bernoulli),
    theirs.CategoricalHMM: _Counterpart(emissions.Categorical, categorical_hmm.ParamsCategoricalHMM, _take_categorical, _give_categorical),
    theirs.LinearRegressionHMM: _Counterpart(emissions.LinearRegression, linreg_hmm.ParamsLinearRegressionHMM, _take_linear, _give_linear),
    theirs.LogisticRegressionHMM: _Counterpart(emissions.BernoulliGLM, logreg_hmm.ParamsLogisticRegressionHMM, _take_logistic, _give_logistic),
    theirs.CategoricalRegressionHMM: _Counterpart(emissions.CategoricalGLM, categorical_glm_hmm.ParamsCategoricalRegressionHMM, _take_softmax, _give_softmax),
}
