"""Small truths and estimators whose answers are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentgate.studies as studies


@pytest.fixture
def float64():
    """Double precision for one test, without touching the global configuration."""
    with jax.enable_x64(True):
        yield


class Normal(studies.Truth):
    """Normal observations of mean 3 and standard deviation 2; no inputs."""

    name: str = "normal"
    params: dict = eqx.field(default_factory=lambda: {"mean": 3.0})
    num_experts: int = 1

    def draw(self, key, num_samples):
        return jnp.zeros((num_samples, 1)), 3.0 + 2.0 * jax.random.normal(key, (num_samples,))


class Calls:
    """Counts fits, and breaks at the one asked for; no part of what an estimator is, so it hides its numbers from descriptions."""

    __slots__ = ("breaks_at", "shapes")

    def __init__(self, breaks_at=None):
        self.shapes, self.breaks_at = [], breaks_at


class SampleMean(studies.Estimator):
    """Their mean, with the keys' noise on top if wanted."""

    name: str = "mean"
    offset: float = 0.0
    noise: float = 0.0
    calls: Calls = eqx.field(default_factory=Calls)

    @property
    def start_kind(self):
        return "none"

    def losses(self, truth):
        return (studies.ParameterError("mean", "error"),)

    def fit(self, keys, truth, inputs, values):
        self.calls.shapes.append(values.shape)
        if len(self.calls.shapes) == self.calls.breaks_at:
            raise RuntimeError("power cut")
        noise = self.noise * jax.vmap(lambda key: jax.random.normal(key, ()))(keys)
        nothing = np.zeros(len(values))
        return studies.Estimates({"mean": values.mean(-1) + self.offset + noise}, nothing, nothing.astype(int), nothing == 0)


@pytest.fixture
def toys():
    """The three classes."""
    return Normal, SampleMean, Calls
