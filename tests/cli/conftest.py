"""Fits that several files look at, made once by the command itself."""

import pytest

from .running import run


@pytest.fixture(autouse=True, scope="session")
def _no_kept_programs():
    """Tests neither read nor write the user's cache, nor set JAX's folder for those that come after."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LATENTGATE_NO_COMPILATION_CACHE", "1")
        yield


@pytest.fixture(scope="session")
def fitted(tmp_path_factory):
    """A Poisson HMM of the simulated recording with held-out sequences: what the command left behind, and the file of the fit."""
    path = tmp_path_factory.mktemp("fitted") / "fit.nc"
    return run(
        "fit", "simulated_insula", "--model", "poisson-hmm", "--states", 2, "--restarts", 2, "--iterations", 4, "--held-out", 0.25, "--json", "--out", path
    ), path
