"""The table of experts over which the laws of `test_experts.py` run, and what its neighbours share."""

from __future__ import annotations

import functools
import math

import equinox as eqx
import numpy as np
import numpyro.distributions as dist
import scipy.special
import scipy.stats

import latentgate as lg
from latentgate.models.emissions.gated_regression import GatedRegression

from .laws import Bench
from .table import NUM_STATES, Row

LENGTHS = (30, 24)

_rng = np.random.default_rng(3)
INPUTS = [_rng.uniform(-1, 1, size=(length, 2)) for length in LENGTHS]


def drawn(mean, noise=0.3) -> list[np.ndarray]:
    """Observations about mean(inputs [..., 2]), one array [time, 1] a sequence."""
    return [mean(inputs)[:, None] + noise * _rng.normal(size=(len(inputs), 1)) for inputs in INPUTS]


def normal(mean):
    """Density of a normal expert, by SciPy; `mean` of (params, expert, inputs)."""

    def density(params, state, y, inputs):
        scale = params["scale"] if params["scale"].ndim == 0 else params["scale"][state]
        return 0.0 if math.isnan(y[0]) else scipy.stats.norm(mean(params, state, inputs), scale).logpdf(y[0])

    return density


def line(params, state, inputs):
    return params["weights"][state] @ inputs + params["bias"][state]


def student_density(params, state, y, inputs):
    law = scipy.stats.t(params["degrees_of_freedom"][state], line(params, state, inputs), params["scale"][state])
    return 0.0 if math.isnan(y[0]) else law.logpdf(y[0])


def monomials(inputs):
    first, second = inputs[..., 0], inputs[..., 1]
    return np.stack([first, second, first**2, first * second, second**2], -1)


def tanh_network(params, state, inputs):
    return params["output"][state] @ np.tanh(params["hidden"][state] @ inputs + params["hidden_bias"][state]) + params["bias"][state]


def counts_density(params, state, y, inputs):
    if math.isnan(y[0]):
        return 0.0
    if state == 0:
        return scipy.stats.poisson(5.0).logpmf(y[0])
    return scipy.stats.poisson(np.exp(params["counts.weights"][state - 1] @ inputs + params["counts.bias"][state - 1])).logpmf(y[0])


def gated_mean(params, state, inputs):
    doors = scipy.special.expit(params["gate.weights"][state] @ inputs + params["gate.bias"][state])
    return doors @ (params["experts.weights"][state] @ inputs + params["experts.bias"][state])


def about(centre, spread=0.15):
    """Three values near one another, [expert, ...]."""
    return np.asarray(centre) + spread * _rng.normal(size=(NUM_STATES, *np.shape(centre)))


LINES = {"weights": about([1.0, -2.0], 1.0), "bias": about(0.0, 1.0), "scale": np.array([0.3, 1.0, 2.0])}
NETWORK = {"hidden": np.array([[3.0, 0.5], [-1.0, 2.0]]), "hidden_bias": np.array([0.5, -0.5]), "output": np.array([2.0, -1.0]), "bias": np.array(0.3)}
_tails = [values + 0.5 * _rng.standard_t(2.0, size=values.shape) for values in drawn(lambda x: x @ [1.0, -2.0])]

ROWS = [
    Row(
        "polynomial",
        lg.experts.Polynomial(3, 2, num_inputs=2, interactions=True, shared_scale=True),
        {"weights": about(np.zeros(5), 1.0), "bias": about(0.0), "scale": np.array(0.7)},
        drawn(lambda x: monomials(x) @ [1.0, 0.0, -2.0, 1.0, 0.5]),
        INPUTS,
        normal(lambda params, state, inputs: params["weights"][state] @ monomials(inputs) + params["bias"][state]),
        {},
    ),
    Row(
        "student",
        lg.experts.StudentT(3, "free", num_inputs=2, bounds=(0.3, 300.0)),
        LINES | {"degrees_of_freedom": np.array([1.5, 4.0, 20.0])},
        _tails,
        INPUTS,
        student_density,
        {},
    ),
    Row(
        "network",
        lg.experts.Network(3, 2, num_inputs=2),
        {name: about(value) for name, value in NETWORK.items()} | {"scale": np.array([0.3, 0.5, 1.0])},
        drawn(lambda x: np.tanh(x @ NETWORK["hidden"].T + NETWORK["hidden_bias"]) @ NETWORK["output"] + NETWORK["bias"], 0.1),
        INPUTS,
        normal(tanh_network),
        {},
    ),
    Row(
        "several",
        lg.experts.Several(known=lg.experts.Known(dist.Poisson(5.0)), counts=lg.experts.Poisson(2, num_inputs=2)),
        {"counts.weights": np.array([[1.0, -0.5], [-1.0, 0.3]]), "counts.bias": np.array([0.5, 1.5])},
        [_rng.poisson(np.exp(1.0 + inputs @ [[1.0], [-0.5]])).astype(float) for inputs in INPUTS],
        INPUTS,
        counts_density,
        {},
    ),
    Row(
        "gated regression",
        GatedRegression(lg.gates.Sigmoid(num_inputs=2, normalised=False), lg.experts.LinearGaussian(2, num_inputs=2)),
        {
            "gate.weights": about([[3.0, 0.0], [-3.0, 0.0]]),
            "gate.bias": about([0.0, 0.0]),
            "experts.weights": about([[1.0, 0.0], [0.0, -1.0]]),
            "experts.bias": about([1.0, -1.0]),
            "scale": np.array([0.3, 0.5, 1.0]),
        },
        drawn(lambda x: scipy.special.expit(3 * x[:, 0]) * (1 + x[:, 0]) - scipy.special.expit(-3 * x[:, 0]) * (1 + x[:, 1]), 0.1),
        INPUTS,
        normal(gated_mean),
        {},
    ),
]


@functools.cache
def bench_of(name: str) -> Bench:
    return Bench(next(row for row in ROWS if row.name == name))


@eqx.filter_jit
def m_step(experts, params, data, weights):
    return experts.m_step(params, data, weights)


def sequences(values, inputs, **arguments) -> lg.Sequences:
    return lg.Sequences.from_arrays([np.asarray(values, float)], inputs=[np.asarray(inputs, float)], **arguments)
