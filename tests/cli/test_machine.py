"""`rates`, `bench` and `info`: what they measure, and what they say of it."""

import json

import numpy as np
import pytest
import xarray as xr

from latentgate import cli
from latentgate.cli import bench, first_calls, rates

from .running import run


@pytest.fixture
def study(monkeypatch):
    """Instead of a study, which has tests of its own: losses that fall as 2 / √n and 3 / n, and what was asked for."""
    from latentgate import studies

    asked = {}

    def made(**arguments):
        asked.update(arguments)
        sizes, noise = np.array(arguments["sample_sizes"]), np.random.default_rng(0).uniform(0.99, 1.01, (1, 1, 3, arguments["replications"]))
        losses = {"D1": 2 / np.sqrt(sizes), "hellinger": 3 / sizes, "excess": np.full(3, 4.0)}
        dims = ("truth", "estimator", "size", "replication")
        coords = {"truth": ["t"], "estimator": ["e"], "size": sizes, "start": ("estimator", ["near-truth"])}
        variables = {name: (dims, values[:, None] * noise) for name, values in losses.items()}
        return studies.Study(xr.Dataset(variables, coords), (int(sizes[0]), int(sizes[-1])))

    monkeypatch.setattr(studies, "convergence_rates", made)
    return asked


def test_rates(study, tmp_path):
    arguments = ("rates", "--sizes", "100,1000,10000", "--replications", 30, "--seed", 4, "--quiet")
    done = run(*arguments, "--json", "--checkpoint", tmp_path / "study", "--out", tmp_path / "rates.png")
    assert done.code == cli.DONE, done.err
    assert done.err == ""
    facts = json.loads(done.out)
    assert set(facts["losses"]) == {"D1", "hellinger"}
    assert facts["losses"]["D1"]["slope"] == pytest.approx(-0.5, abs=0.01)
    assert facts["losses"]["hellinger"]["slope"] == pytest.approx(-1.0, abs=0.01)
    assert facts["losses"]["D1"]["prefactor"] == pytest.approx(2.0, rel=0.05)
    assert facts["losses"]["D1"]["mean"] == pytest.approx([0.2, 2 / np.sqrt(1000), 0.02], rel=0.01)
    assert (study["sample_sizes"], study["replications"], study["seed"], study["checkpoint"]) == ((100, 1000, 10_000), 30, 4, tmp_path / "study")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")
    assert "-1.00" in run(*arguments).out


@pytest.mark.parametrize("gate", rates._GATES)
def test_every_gate_has_a_truth_and_a_loss(gate):
    from latentgate.studies import MaximumLikelihood

    model, truth = rates.model_and_truth(gate)
    estimator = MaximumLikelihood("estimator", model)
    estimator.check(truth)
    assert estimator.losses(truth)[0].names[0] in ("D1", "voronoi")


@pytest.mark.parametrize(
    "arguments", [("--sizes", "200"), ("--sizes", "400,200"), ("--sizes", "a,b"), ("--replications", 1), ("--gate", "iron"), ("--out", "rates.txt")]
)
def test_rates_refuses(arguments):
    assert run("rates", *arguments).code == cli.WRONG_ARGUMENTS


def test_bench():
    done = run("bench", "--quick", "--json")
    assert done.code == cli.DONE, done.err
    rows = json.loads(done.out)["rows"]
    assert len(rows) == 5
    for row in rows:
        assert 0 < row["lower_quartile_s"] <= row["median_s"] <= row["upper_quartile_s"]
        assert row["ns_per_step"] == pytest.approx(1e9 * row["median_s"] / row["steps"])
        assert row["first_call_s"] == pytest.approx(row["median_s"] + row["compilation_s"])


def test_bench_without_peers(monkeypatch):
    monkeypatch.setattr(bench, "_PEERS", ("no_such_peer",))
    done = run("bench", "--peers")
    assert done.code == cli.FAILED
    assert "no_such_peer not installed; pip install 'latentgate[peers]'" in done.err


def test_bench_outside_a_checkout(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "_PEERS", ())
    monkeypatch.setattr(bench, "__file__", str(tmp_path / "latentgate" / "cli" / "bench.py"))
    done = run("bench", "--peers")
    assert done.code == cli.FAILED
    assert "clone the repository" in done.err


def test_info(monkeypatch, tmp_path):
    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path))
    done = run("info", "--json")
    assert done.code == cli.DONE, done.err
    facts = json.loads(done.out)
    assert facts["devices"]
    assert facts["precision"] in ("float32", "float64")
    assert {"latentgate", "jax", "numpy"} <= set(facts["versions"])
    assert facts["recordings"]["simulated_insula"].endswith("simulated_insula.npz")
    assert facts["extras"]["nwb"]["command"] == "pip install 'latentgate[nwb]'"
    assert facts["timings"] is None
    assert facts["compiled_programs"]["entries"] >= 0
    text = run("info").out
    assert "devices:" in text
    assert "not measured yet" in text


def test_info_shows_what_was_measured_last(monkeypatch, tmp_path):
    from latentgate.compilation import cache_state

    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path))
    asked = []

    def twice(setup, call, cache):
        asked.append(cache)
        return {"first": 2.0 if cache is None else 1.0, "second": 0.25}

    monkeypatch.setattr(first_calls, "in_fresh_process", lambda code: {"import jax": 0.5})
    monkeypatch.setattr(first_calls, "twice", twice)
    folder = tmp_path / "compiled_programs"
    folder.mkdir()
    first_calls.measure(folder)
    # Without a cache, then with one that is filled, then with one that is full.
    assert asked == [None, str(folder), str(folder)]
    monkeypatch.setattr("latentgate.compilation.cache_state", lambda: {**cache_state(folder), "on": True})
    text = run("info").out
    assert "small fit 2.00 s, second call 0.250 s" in text
    assert "small fit, compiled before 1.00 s" in text


def test_a_fresh_process_is_measured():
    assert first_calls.in_fresh_process("import json; print('noise'); print(json.dumps({'seconds': 1.0}))") == {"seconds": 1.0}
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        first_calls.in_fresh_process("1 / 0")
