"""What importing costs: only what is needed."""

import subprocess
import sys

import pytest

TOP_LEVEL = "{name.partition('.')[0] for name in sys.modules}"


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_package_is_lazy():
    code = f"import sys; import latentgate; print(sorted({TOP_LEVEL} & {{'jax', 'numpyro', 'scipy', 'matplotlib', 'equinox', 'xarray', 'pandas'}}))"
    assert run(code) == "[]"


def test_the_package_adds_little_to_jax():
    from latentgate.cli.first_calls import IMPORTS, in_fresh_process

    assert in_fresh_process(IMPORTS)["import latentgate (added)"] < 0.5


def test_plotting_waits_with_matplotlib():
    assert run("import sys; import latentgate; latentgate.plotting.em_trace; print('matplotlib' in sys.modules)") == "False"


def test_command_waits_with_jax():
    assert run("import sys; import latentgate.cli; print('jax' in sys.modules)") == "False"


def test_kernels_need_jax_and_numpy_only():
    code = f"import sys, jax, numpy; before = {TOP_LEVEL}; import latentgate.kernels; print(sorted({TOP_LEVEL} - before - set(sys.stdlib_module_names)))"
    assert run(code) == "['latentgate']"


@pytest.mark.parametrize(
    "name",
    [
        "HMM",
        "EM",
        "fit",
        "load",
        "Sequences",
        "plotting",
        "emissions",
        "priors",
        "basis",
        "LinearGaussianSSM",
        "PoissonLDS",
        "dynamics",
        "filters",
        "WienerFilter",
        "LangevinFlow",
        "LangevinOnGrid",
        "AmortisedSVI",
        "potentials",
        "guides",
        "data",
    ],
)
def test_public_names(name):
    import latentgate as lg

    assert getattr(lg, name) is not None
    assert name in dir(lg)


def test_unknown_name():
    import latentgate as lg

    with pytest.raises(AttributeError, match="no attribute 'HMMM'"):
        _ = lg.HMMM


@pytest.mark.parametrize("first", ["arviz, latentgate.models", "arviz, numpyro.distributions, latentgate.models"])
def test_numpyro_is_whole_where_arviz_was_imported_first(first):
    """ArviZ leaves a lazy numpyro behind; its distributions must not be loaded twice, and sampling must find all of them."""
    code = f"import {first}, numpyro.infer.util, numpyro.distributions; numpyro.distributions.distribution, numpyro.distributions.conjugate"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
