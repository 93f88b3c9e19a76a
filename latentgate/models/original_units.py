"""Parameters of models fitted to standardised inputs, expressed for the raw ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from latentgate.data import Sequences

from . import emissions, experts, gates, transitions
from .base import Model, without_prefix
from .hmm import HMM
from .linear import LinearGaussianSSM, PoissonLDS
from .mixture_of_experts import MixtureOfExperts

Scales = Mapping[str, tuple[np.ndarray, np.ndarray]]
# {input set: (column, value) of a column that is the same throughout}.
Intercepts = Mapping[str, tuple[int, float]]
Params = dict[str, np.ndarray]


def intercepts_of(data: Sequences) -> dict[str, tuple[int, float]]:
    """Of each input set, the first column that has one value other than 0 at all real steps, and that value."""
    found = {}
    for name, value in data.inputs.items():
        rows = np.asarray(value, float)[np.asarray(data.mask)]
        constant = np.flatnonzero((np.ptp(rows, axis=0) == 0) & (rows[0] != 0))
        if constant.size:
            found[name] = (int(constant[0]), float(rows[0, constant[0]]))
    return found


def to_original_units(model: Model, params: Mapping[str, Any], scales: Scales, intercepts: Intercepts | None = None) -> Params:
    """Parameters under which raw inputs have the likelihood that standardised inputs, (raw - centre) / unit, have under `params`.

    Args:
        model: the structure.
        params: {dotted name: array} for standardised inputs.
        scales: {name of an input set: (centre [input], unit [input])}.
        intercepts: {name of an input set: (column, value) of a constant column}, whose weights absorb the shift where a part has no bias.

    Raises:
        ValueError: for a part that reads scaled inputs otherwise than by weights (a basis, a network), or has nothing that could absorb the shift.
    """
    known: Params = {name: np.asarray(value) for name, value in params.items()}
    if isinstance(model, LinearGaussianSSM | PoissonLDS):
        for part in ("emission", "dynamics"):
            if f"{part}.input_weights" in known and "inputs" in scales:
                own = without_prefix(part, known)
                found = _moved(type(model).__name__, own, "inputs", scales, intercepts or {}, weights="input_weights")
                known |= {f"{part}.{name}": value for name, value in found.items()}
        return known
    return _converted(model, known, scales, intercepts or {})


def _converted(part: Any, params: Params, scales: Scales, intercepts: Intercepts) -> Params:
    """The parameters of a part, under its own names."""
    inner = list(_parts(part))
    if inner:
        found = dict(params)
        for prefix, child in inner:
            own = without_prefix(prefix, params) if prefix else params
            new = _converted(child, own, scales, intercepts)
            found |= {f"{prefix}.{name}" if prefix else name: value for name, value in new.items()}
        return found
    read = [name for name in _input_sets(part) if name in scales]
    if not read:
        return params
    for classes, convert in _CONVERSIONS:
        if isinstance(part, classes):
            return params | convert(part, params, scales, intercepts)
    raise ValueError(
        f"model: found {type(part).__name__}, which reads inputs[{read[0]!r}] otherwise than by weights with a bias, expected a part whose parameters can be "
        "expressed for raw inputs; keep the fit as it is and standardise new inputs: data.standardized(like=train)."
    )


def _parts(part: Any) -> Iterable[tuple[str, Any]]:
    """(prefix of its parameters, part) of what a part is made of."""
    if isinstance(part, HMM):
        return [("transition", part.transition), ("emission", part.emission)]
    if isinstance(part, MixtureOfExperts | emissions.MixtureOfExperts):
        return [("gate", part.mixture.gate), ("experts", part.mixture.experts)]
    if isinstance(part, emissions.GatedRegression):
        return [("gate", part.gate), ("experts", part.experts)]
    if isinstance(part, emissions.Product | experts.Several):
        return zip(part.names, part.parts, strict=True)
    if isinstance(part, emissions.UntilBoundary | experts.OfEmission):
        return [("", part.emission)]
    if isinstance(part, transitions.ByGate):
        return [("", part.gate)]
    return []


def _input_sets(part: Any) -> Iterable[str]:
    known = getattr(part, "input_sets", None)
    if known is not None:
        return known
    return ["inputs"] if getattr(part, "num_inputs", 0) else []


def _linear(part: Any, params: Params, scales: Scales, intercepts: Intercepts) -> Params:
    return _moved(type(part).__name__, params, part.inputs, scales, intercepts)


def _top_k(part: Any, params: Params, scales: Scales, intercepts: Intercepts) -> Params:
    if part.rank_by != "score" and np.any(scales[part.inputs][0]):
        raise ValueError(f"model: found {type(part).__name__}(rank_by={part.rank_by!r}), whose ranking has no bias to absorb the shift of the inputs.")
    return _linear(part, params, scales, intercepts)


def _gated(part: Any, params: Params, scales: Scales, intercepts: Intercepts) -> Params:
    """The shift multiplies the probabilities of the next state; rows are normalised anew, as the gate does at every step."""
    centre, unit = scales[part.inputs]
    weights = params["weights"] / unit
    with np.errstate(divide="ignore"):
        logits = np.log(params["probs"]) - weights @ centre
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    return {"weights": weights, "probs": probs / probs.sum(-1, keepdims=True)}


def _moved(owner: str, params: Params, inputs: str, scales: Scales, intercepts: Intercepts, weights: str = "weights") -> Params:
    """Weights [..., input] per unit of the raw inputs, and the bias [...] at their zero."""
    centre, unit = scales[inputs]
    new = params[weights] / unit
    shift = new @ centre
    if "bias" in params:
        return {weights: new, "bias": params["bias"] - shift}
    if not np.any(shift):
        return {weights: new}
    if inputs not in intercepts:
        raise ValueError(
            f"model: found {owner} without a bias, expected one to absorb the shift of inputs[{inputs!r}]; fit it with bias=True, or with a column of ones "
            "among the inputs (a fit that was read from a file does not know which column that is: pass the parameters through before saving)."
        )
    column, value = intercepts[inputs]
    new[..., column] -= shift / value
    return {weights: new}


# Parts that read inputs by weights · inputs + bias, and how their parameters change; what else reads inputs cannot be converted.
_CONVERSIONS: list[tuple[Any, Callable[[Any, Params, Scales, Intercepts], Params]]] = [
    ((emissions.BernoulliGLM, emissions.CategoricalGLM, emissions.LinearRegression, emissions.PoissonGLM, emissions.NegativeBinomialGLM), _linear),
    ((experts.LinearGaussian, experts.StudentT, experts.Poisson, experts.Bernoulli, experts.Multinomial), _linear),
    ((gates.Softmax, gates.Sigmoid, gates.Activation), _linear),
    (gates.TopK, _top_k),
    (transitions.Gated, _gated),
]
