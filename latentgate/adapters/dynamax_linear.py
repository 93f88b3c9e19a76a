"""Linear Gaussian state-space models to and from dynamax; reached through `latentgate.adapters.dynamax`.

Both libraries mean the same by a step: z_{t+1} = F z_t + B u_{t+1} + b + noise and y_t = H z_t + D u_t + d + noise, and the first observation belongs to the
first latent (dynamax 1.0.3; before it, edges read the input of the step they left). Where one library writes nothing, the other writes zeros.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from latentgate.models import LinearGaussianSSM
from latentgate.models.base import Params, without_prefix
from latentgate.models.linear import DampedRotations, Linear, Structural

from . import requirement

try:
    from dynamax import linear_gaussian_ssm as theirs
except ImportError as error:
    raise requirement("dynamax", "dynamax", "dynamax") from error

KINDS = (theirs.LinearGaussianSSM, theirs.LinearGaussianConjugateSSM)
_RANKS = {"weights": 2, "bias": 1, "input_weights": 2, "cov": 2}


def from_dynamax_linear(ssm: Any, params: Any) -> tuple[LinearGaussianSSM, Params]:
    """A linear Gaussian model of dynamax as one of latentgate, and its parameters.

    Covariances of the observations given as a vector become `noise="diagonal"`, as a matrix `noise="full"`. A bias is there if dynamax's parameters have one,
    whatever its model says, since its filter goes by the parameters.

    Args:
        ssm: a `LinearGaussianSSM` of `dynamax.linear_gaussian_ssm`, or a conjugate one, whose priors latentgate has not.
        params: its `ParamsLGSSM`, constant in time.

    Raises:
        ValueError: if parameters are functions or change in time.

    Warns:
        UserWarning: for the priors of a conjugate model, which are left behind.
    """
    if isinstance(ssm, theirs.LinearGaussianConjugateSSM):
        warnings.warn(
            "ssm: found the matrix-normal inverse-Wishart priors of LinearGaussianConjugateSSM, expected none; the likelihood is taken over, priors are not.",
            UserWarning,
            stacklevel=3,
        )
    for part in ("dynamics", "emissions"):
        for name, rank in _RANKS.items():
            value = getattr(getattr(params, part), name)
            if callable(value) or np.ndim(value) > rank:
                found = "a function of time" if callable(value) else f"shape {np.shape(value)}"
                raise ValueError(f"params.{part}.{name}: found {found}, expected one array for all steps, which is all that LinearGaussianSSM has.")
    num_inputs = 0 if params.dynamics.input_weights is None else np.shape(params.dynamics.input_weights)[-1]
    if params.emissions.input_weights is not None:
        num_inputs = max(num_inputs, np.shape(params.emissions.input_weights)[-1])
    covariance = jnp.asarray(params.emissions.cov)
    noise = "diagonal" if covariance.ndim == 1 else "full"
    rows, size = np.shape(params.emissions.weights)
    biased = params.emissions.bias is not None
    dynamics = Linear(bias=params.dynamics.bias is not None, num_inputs=num_inputs)
    model = LinearGaussianSSM(size, rows, dynamics=dynamics, noise=noise, bias=biased, num_inputs=num_inputs)
    values = {
        "initial.mean": params.initial.mean,
        "initial.covariance": params.initial.cov,
        "dynamics.matrix": params.dynamics.weights,
        "dynamics.bias": params.dynamics.bias,
        "dynamics.input_weights": _or_zeros(params.dynamics.input_weights, size, num_inputs),
        "dynamics.covariance": params.dynamics.cov,
        "emission.matrix": params.emissions.weights,
        "emission.bias": params.emissions.bias,
        "emission.input_weights": _or_zeros(params.emissions.input_weights, rows, num_inputs),
        "emission.covariance": covariance,
    }
    return model, {name: jnp.asarray(values[name]) for name in model.dims()}


def to_dynamax_linear(model: LinearGaussianSSM, params: Mapping[str, Any]) -> tuple[Any, Any]:
    """A linear Gaussian model of latentgate as one of dynamax, and its parameters.

    Structure becomes numbers: a stationary or given first law, fixed entries, rotations, components of a structural model and diagonal noise are written out
    in full matrices, which dynamax's own fits would then change freely.

    Args:
        model: with constant edges but for inputs.
        params: {dotted name: array}, for example `fit.params`.

    Returns:
        dynamax's model and its `ParamsLGSSM`.

    Raises:
        TypeError: for dynamics in continuous time.
        ValueError: if parameters are absent.
    """
    dynamics = model.dynamics
    if not isinstance(dynamics, Linear | DampedRotations | Structural):
        raise TypeError(f"model.dynamics: found {type(dynamics).__name__}, expected dynamics with constant edges: Linear, DampedRotations or Structural.")
    absent = [name for name in model.dims() if name not in params]
    if absent:
        raise ValueError(f"params: found no {absent[0]!r}, expected {', '.join(model.dims())}.")
    arrays = {name: jnp.asarray(params[name]) for name in model.dims()}
    emission = without_prefix("emission", arrays)
    driven = dynamics.num_inputs if isinstance(dynamics, Linear) else 0
    num_inputs = max(driven, model.num_inputs)
    edges = dynamics.step(without_prefix("dynamics", arrays), jnp.zeros(driven), None)
    mean, covariance = model.first_law(arrays, edges)
    own_bias = isinstance(dynamics, Linear) and dynamics.bias
    # dynamax takes None, and its types do not say so.
    dynamics_bias: Any = edges.bias if own_bias else None
    emission_bias: Any = emission.get("bias")
    ssm = theirs.LinearGaussianSSM(model.latent_dim, model.emission_dim, num_inputs, has_dynamics_bias=own_bias, has_emissions_bias=model.bias)
    return ssm, theirs.ParamsLGSSM(
        initial=theirs.ParamsLGSSMInitial(mean=mean, cov=covariance),
        dynamics=theirs.ParamsLGSSMDynamics(
            weights=edges.matrix,
            bias=dynamics_bias,
            input_weights=_or_zeros(arrays.get("dynamics.input_weights"), model.latent_dim, num_inputs),
            cov=edges.covariance,
        ),
        emissions=theirs.ParamsLGSSMEmissions(
            weights=model.loadings(emission),
            bias=emission_bias,
            input_weights=_or_zeros(emission.get("input_weights"), model.emission_dim, num_inputs),
            cov=emission["covariance"] if model.noise == "full" else jnp.diag(emission["covariance"]),
        ),
    )


def _or_zeros(weights: Any, rows: int, num_inputs: int) -> Any:
    return jnp.zeros((rows, num_inputs)) if weights is None or not np.size(weights) else weights
