"""`latentgate report`: a page that stands alone and says what the fit says."""

import base64
import json
import re
from html import unescape

import numpy as np
import pytest

import latentgate as lg
from latentgate import cli
from latentgate.inference import Outcome
from latentgate.inference.fit import RestartRecord
from latentgate.report import write_fit_report

from .running import run


@pytest.fixture(scope="module")
def page(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    done = run("report", fitted[1], "--data", "simulated_insula", "--json", "--out", path)
    assert done.code == cli.DONE, done.err
    return done, path.read_text(encoding="utf-8")


def pictures(text):
    return [base64.b64decode(code) for code in re.findall(r"data:image/png;base64,([^\"]*)", text)]


def test_it_stands_alone(page):
    _, text = page
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"<(script|link|iframe)", text)
    assert len(pictures(text)) == 5
    assert all(content.startswith(b"\x89PNG") for content in pictures(text))


def test_it_says_what_the_fit_says(page, fitted):
    done, text = page
    fit, text = lg.Fit.load(fitted[1]), unescape(text)
    assert fit.outcome.value in text
    assert f"<td>free parameters</td><td>{fit.num_parameters}</td>" in text
    assert "2 states, 15 neurons" in text
    assert "poisson-hmm of simulated_insula" in text
    for record in fit.restarts:
        assert f"<td class=number>{record.log_joint_history.max():.1f}</td>" in text
    rates = fit.params["emission.rates"]
    assert f"<td>emission.rates</td><td>state 2, neuron 15</td><td class=number>{rates.min():.4g}</td>" in text
    total = float(fit.log_likelihood(lg.load("simulated_insula")).sum())
    assert f"{total:.2f} nats" in text
    facts = json.loads(done.out)
    assert f"{facts['held_out']['bits_per_spike']:.4f} bits per spike" in text


def test_without_data_nothing_is_decoded(fitted, tmp_path):
    done = run("report", fitted[1], "--out", tmp_path / "report.html")
    assert done.code == cli.DONE
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Data</h2>" not in text
    assert "<h2>States</h2>" not in text
    assert len(pictures(text)) == 2


def made(model, params, history=(-30.0, -20.0)):
    """A fit with given parameters, as if it had been found."""
    record = RestartRecord(params, np.array(history), np.array(history), Outcome.CONVERGED)
    return lg.Fit(model, params, "EM()", 0, Outcome.CONVERGED, True, [record])


def test_connections_are_drawn(tmp_path):
    import jax

    rng = np.random.default_rng(0)
    data = lg.Sequences.from_arrays(list(rng.poisson(1.0, (2, 20, 3)).astype(float)))
    model = lg.HMM(2, lg.emissions.PoissonGLM(3, history=lg.basis.Exponential(2), coupling=lg.priors.OneHot()))
    params = {name: np.asarray(value) for name, value in model.initialize(jax.random.key(0), data).items()}
    text = write_fit_report(made(model, params), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Coupling in each state" in text
    assert "Learned connection types" in text
    assert len(pictures(text)) == 4


def test_latents_and_their_entries(tmp_path):
    rng = np.random.default_rng(0)
    data = lg.Sequences.from_arrays(list(rng.normal(size=(2, 20, 3))), bin_width=0.1)
    params = {
        "initial.mean": np.zeros(2),
        "initial.covariance": np.eye(2),
        "dynamics.matrix": np.array([[0.9, 0.125], [-0.1, 0.9]]),
        "dynamics.bias": np.zeros(2),
        "dynamics.covariance": np.eye(2),
        "emission.matrix": rng.normal(size=(3, 2)),
        "emission.bias": np.zeros(3),
        "emission.covariance": np.ones(3),
    }
    fit = made(lg.LinearGaussianSSM(2, 3), params)
    text = write_fit_report(fit, tmp_path / "report.html", data=data).read_text(encoding="utf-8")
    assert "Smoothed latents, mean and two standard deviations, of all 2 sequences." in text
    assert "<td>dynamics.matrix[0, 1]</td><td class=number>0.125</td>" in text
    assert len(pictures(text)) == 2
