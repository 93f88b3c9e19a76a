"""Precision of the kernel tests, and which of them run by default."""

import pathlib

import jax
import pytest

HERE = pathlib.Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests of this folder out unless `-m` speaks of them."""
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if item.get_closest_marker("slow") and HERE in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="slow: run with -m slow"))


@pytest.fixture(scope="module")
def float64():
    """Sixty-four-bit types for the tests of a module, without touching the global configuration."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def float32():
    """JAX as a user finds it: no sixty-four-bit types, so that nothing can be summed in them unseen."""
    with jax.enable_x64(False):
        yield
