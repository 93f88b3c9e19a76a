"""Precision of the model tests."""

import jax
import pytest


@pytest.fixture(scope="module")
def float64():
    """Sixty-four-bit types for the tests of a module, without touching the global configuration."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def float32():
    """JAX as a user finds it."""
    with jax.enable_x64(False):
        yield
