"""Double precision for the tests of a module."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def float64():
    """Sixty-four-bit types without touching the global configuration."""
    with jax.enable_x64(True):
        yield
