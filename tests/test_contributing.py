"""The model of CONTRIBUTING.md does what the page says: its very lines are taken, and every law of the package's emissions runs over them."""

import importlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose

import latentgate as lg

from .models import test_emissions as laws
from .models.laws import Bench
from .models.table import LENGTHS, NUM_STATES, Row

PAGE = Path(__file__).resolve().parents[1] / "CONTRIBUTING.md"
LAWS = [getattr(laws, name) for name in dir(laws) if name.startswith("test_")]


@pytest.fixture(scope="module")
def gamma(tmp_path_factory):
    """The class of the page, in a module of somebody's own."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 40
    folder = tmp_path_factory.mktemp("mine")
    (folder / "reaction_times.py").write_text(code, encoding="utf-8")
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("reaction_times").Gamma
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("reaction_times", None)


@pytest.fixture(scope="module")
def bench(gamma):
    import jax
    import numpyro.distributions as dist

    rng = np.random.default_rng(5)

    def density(params, state, y, inputs):
        seen = ~np.isnan(y)
        return scipy.stats.gamma(params["shape"][state][seen], scale=1 / params["rate"][state][seen]).logpdf(y[seen]).sum()

    params = {"shape": rng.uniform(1.0, 4.0, (NUM_STATES, 2)), "rate": rng.uniform(0.5, 4.0, (NUM_STATES, 2))}
    with jax.enable_x64(True):
        yield Bench(Row("gamma", gamma(2), params, [rng.gamma(2.0, 0.5, (length, 2)) for length in LENGTHS], None, density, {"prior": dist.Gamma(3.0, 2.0)}))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("test_"))
def test_every_law_of_emissions_holds(law, bench):
    for options in [{"which": "complete"}, {"which": "missing"}] if "which" in law.__code__.co_varnames[: law.__code__.co_argcount] else [{}]:
        law(bench, **options)


def test_it_fits_saves_and_loads(gamma, tmp_path):
    rng = np.random.default_rng(3)
    quick = np.arange(120) // 20 % 2 == 0
    times = [np.where(quick, rng.gamma(8.0, 0.05, 120), rng.gamma(4.0, 0.4, 120)) for _ in range(4)]
    times[1][7] = np.nan
    trials = lg.Sequences.from_arrays(times)
    fit = lg.fit(lg.HMM(2, gamma(1)), trials, lg.EM(restarts=3, max_iterations=40), seed=0)
    assert np.all(np.diff(fit.log_joint_history) > -1e-2)
    states = fit.most_probable_path(trials).values
    assert max(np.mean(states == quick), np.mean(states != quick)) > 0.95
    means = np.sort((fit.params["emission.shape"] / fit.params["emission.rate"])[:, 0])
    assert_allclose(means, [0.4, 1.6], rtol=0.15)
    again = lg.Fit.load(fit.save(tmp_path / "fit.nc"))
    assert_allclose(again.log_likelihood(trials), fit.log_likelihood(trials), rtol=1e-6)
    with pytest.raises(ValueError, match=r"found -1, expected waiting times above 0 for Gamma; mark trials without a response as NaN"):
        fit.smooth(lg.Sequences.from_arrays([[1.0, -1.0]]))
    gamma.__module__ = "a module that nobody imported"
    try:
        with pytest.raises(ValueError, match=r"Import the module that defines it"):
            lg.Fit.load(tmp_path / "fit.nc")
    finally:
        gamma.__module__ = "reaction_times"
