"""Truths and estimators that more than one case uses."""

from __future__ import annotations

from typing import Any

import latentgate as lg
import latentgate.studies as studies

# Nguyen, Nguyen and Ho 2023; the last gate row is zero.
TWO_LINES: dict[str, Any] = {
    "gate.weights": [[25.0], [0.0]],
    "gate.bias": [-8.0, 0.0],
    "experts.weights": [[-20.0], [20.0]],
    "experts.bias": [15.0, -5.0],
    "experts.scale": [0.3, 0.4],
}


def flat_experts(num_experts: int, num_inputs: int = 1, **options: Any) -> lg.experts.LinearGaussian:
    """Linear experts that know no prior: what is fitted is the likelihood."""
    flat = {"weight_prior": "flat", "bias_prior": "flat", "variance_prior": "flat"}
    return lg.experts.LinearGaussian(num_experts, num_inputs=num_inputs, **flat, **options)


def softmax_model(num_experts: int, **options: Any) -> lg.MixtureOfExperts:
    """Softmax gate on one input, for maximum likelihood."""
    gate = lg.gates.Softmax(num_inputs=1, weight_scale="flat", bias_scale="flat")
    return lg.MixtureOfExperts(gate=gate, experts=flat_experts(num_experts, **options))


def two_lines() -> studies.MixtureTruth:
    """The softmax-gated truth of Nguyen, Nguyen and Ho 2023 on a fixed grid."""
    return studies.MixtureTruth("two lines", softmax_model(2), TWO_LINES, "grid")
