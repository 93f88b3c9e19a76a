"""`latentgate fit`: what it writes and says, what it refuses, what is left when it ends early."""

import json

import equinox as eqx
import numpy as np
import pytest

import latentgate as lg
from latentgate import cli
from latentgate.cli import record
from latentgate.cli.models import KINDS, Choices, build, check, spread
from latentgate.cli.shared import WrongArguments
from latentgate.data.jump_processes import simulate_panel
from latentgate.inference import NonFiniteLikelihoodError, Outcome

from .running import run

GOOD = ("fit", "simulated_insula", "--model", "poisson-hmm", "--states", 2)


def test_numbers_are_those_of_the_same_fit_in_python(fitted):
    done, path = fitted
    assert done.code == cli.DONE, done.err
    facts = json.loads(done.out)
    data = lg.load("simulated_insula")
    train, test = data.split(0.75, 0)
    fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(15)), train, lg.EM(restarts=2, max_iterations=4), seed=0)
    saved = lg.Fit.load(path)
    for name, value in fit.params.items():
        np.testing.assert_array_equal(saved.params[name], value)
    assert facts["outcome"] == fit.outcome.name == "ITERATION_LIMIT"
    assert facts["converged"] is False
    assert facts["held_out"]["num_sequences"] == test.num_sequences == 6
    assert facts["held_out"]["log_likelihood"] == pytest.approx(float(fit.log_likelihood(test).sum()), rel=1e-6)
    assert facts["held_out"]["bits_per_spike"] == pytest.approx(fit.bits_per_spike(test, train), rel=1e-6)
    assert facts["log_joint"] == pytest.approx(fit.log_joint_history.max())
    assert [entry["iterations"] for entry in facts["restarts"]] == [4, 4]
    assert facts["num_parameters"] == fit.num_parameters == 2 * 15 + 2 + 1
    assert {"recording", "engine", "seed", "precision", "versions", "seconds", "settings", "outcome_sentence", "purpose"} <= set(facts)


def test_the_file_says_where_it_comes_from(fitted):
    done, path = fitted
    kept, said = record.load(path), json.loads(done.out)
    assert {name: kept[name] for name in ("model", "recording", "held_out", "outcome")} == {
        name: said[name] for name in ("model", "recording", "held_out", "outcome")
    }


def test_progress_is_on_standard_error_alone(fitted):
    done, _ = fitted
    assert done.err.index("reading simulated_insula") < done.err.index("fitting poisson-hmm by EM(restarts=2") < done.err.index("done")
    assert "fitting poisson-hmm" not in done.out


def test_quiet_and_short(monkeypatch, tmp_path, fitted):
    monkeypatch.setattr(lg, "fit", lambda *args, **kwargs: lg.Fit.load(fitted[1]))
    done = run(*GOOD, "--quiet", "--out", tmp_path / "fit.nc")
    assert done.code == cli.DONE
    assert done.err == ""
    assert len(done.out.splitlines()) == 4
    assert "Stopped at the iteration limit" in done.out
    assert "--iterations" in done.out


def _data():
    """Small data of every kind that a model of the table is for."""
    rng = np.random.default_rng(0)
    counts = list(rng.poisson(1.0, (3, 30, 4)).astype(float))
    signals = list(rng.normal(3.0, 20.0, (3, 30, 2)))
    inputs = list(rng.normal(size=(3, 30, 2)))
    choices = list(rng.integers(0, 2, (3, 30, 1)).astype(float))
    return {
        "counts": lg.Sequences.from_arrays(counts, inputs=inputs, bin_width=0.05),
        "signals": lg.Sequences.from_arrays(signals, inputs=inputs),
        "line": lg.Sequences.from_arrays([signal[:, :1] for signal in signals], inputs=inputs),
        "choices": lg.Sequences.from_arrays(choices, inputs=inputs),
        "panel": simulate_panel(0, [[-0.5, 0.5, 0.0], [0.0, -0.5, 0.5], [0.0, 0.0, 0.0]], [[0.0, 1.0, 4.0, 9.0]] * 8, initial=0).data,
    }


FITTING = {
    "poisson-hmm": "counts",
    "negative-binomial-hmm": "counts",
    "gaussian-hmm": "signals",
    "bernoulli-hmm": "choices",
    "categorical-hmm": "choices",
    "glm-hmm": "counts",
    "negative-binomial-glm-hmm": "counts",
    "one-hot-glm-hmm": "counts",
    "bernoulli-glm-hmm": "choices",
    "categorical-glm-hmm": "choices",
    "regression-hmm": "signals",
    "kalman": "signals",
    "poisson-lds": "counts",
    "langevin-flow": "counts",
    "mixture-of-experts": "line",
    "jump-process": "panel",
}


ANY_NUMBERS = ("gaussian-hmm", "kalman")


def test_the_table_of_models_is_whole():
    assert set(FITTING) == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_every_model_suits_the_data_it_is_for(name):
    data, kind = _data()[FITTING[name]], KINDS[name]
    choices = Choices(**dict.fromkeys(kind.needs, 2))
    model = build(name, data, choices)
    model.check(data)
    assert kind.engine in kind.engines
    if kind.first is not None:
        kind.first(data, choices).check(data)
    if name in ANY_NUMBERS:
        return
    other = _data()["signals" if FITTING[name] not in ("signals", "line") else "panel"]
    with pytest.raises((ValueError, TypeError)):
        build(name, other, choices).check(other)


def test_choices_reach_the_model():
    data = _data()["counts"]
    glm = build("glm-hmm", data, Choices(states=3, history=7, inputs="inputs"))
    assert (glm.num_states, glm.emission.history.window, glm.emission.num_inputs, glm.emission.bin_width) == (3, 7, 2, 0.05)
    assert build("poisson-lds", data, Choices(latents=3)).history is None
    jumps = build("jump-process", _data()["panel"], Choices(jumps=((0, 1), (1, 2))))
    assert eqx.tree_equal(jumps, lg.MarkovJumpProcess(3, generator=[(0, 1), (1, 2)]))
    assert 15 < spread(_data()["signals"]) < 25


@pytest.mark.parametrize(
    ("name", "choices", "said"),
    [
        ("poisson-hmm", Choices(), "--states: found none"),
        ("poisson-hmm", Choices(states=2, latents=3), "--latents: poisson-hmm has no use for it"),
        ("kalman", Choices(states=2, latents=3), "--states: kalman has no use"),
        ("kalman", Choices(), "--latents: found none"),
        ("gaussian-hmm", Choices(states=2, history=5), "--history: gaussian-hmm"),
        ("poisson-hmm", Choices(states=2, jumps=((0, 1),)), "--jumps: poisson-hmm"),
    ],
)
def test_choices_that_do_not_go_together(name, choices, said):
    with pytest.raises(WrongArguments, match=said):
        check(name, choices)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--model", "hmm"), "invalid choice: 'hmm'"),
        (("--states", "0"), "expected 1, 2, 3"),
        (("--states", "two"), "expected 1, 2, 3"),
        (("--held-out", "1.5"), "expected a number between 0 and 1"),
        (("--out", "fit.txt"), "ends in .nc"),
        (("--engine", "gibbs"), "invalid choice: 'gibbs'"),
        (("--option", "bin_width"), "expected NAME=VALUE"),
        (("--jumps", "0>1"), "expected pairs of states"),
        (("--latents", "2"), "--latents: poisson-hmm has no use"),
        (("--engine", "amortised"), "--engine: found 'amortised' with poisson-hmm, expected em or map or svi or nuts"),
        (("--engine", "svi", "--restarts", "3"), "--restarts: the engine svi has one"),
        (("--option", "colour=red"), "`colour` is no option of the recording"),
        (("--model", "bernoulli-glm-hmm"), "--inputs: found none, and the recording has the input sets none"),
        (("--model", "glm-hmm", "--inputs", "light"), "--inputs: found 'light', expected an input set of the recording"),
    ],
)
def test_wrong_arguments(change, said, tmp_path):
    done = run(*GOOD, "--out", tmp_path / "fit.nc", *change)
    assert done.code == cli.WRONG_ARGUMENTS
    assert said in " ".join(done.err.split())
    assert done.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no_such", "--model", "poisson-hmm", "--states", 2, "--out", "{}/fit.nc"), "no_such"),
        (("simulated_insula", "--model", "bernoulli-hmm", "--states", 2, "--out", "{}/fit.nc"), "expected 0 or 1"),
        (("simulated_insula", "--model", "poisson-hmm", "--states", 2, "--out", "{}/nowhere/fit.nc"), "there is no folder"),
        (("{}/missing.npz", "--model", "poisson-hmm", "--states", 2, "--out", "{}/fit.nc"), "missing.npz"),
    ],
)
def test_what_fails_says_so_in_one_line(arguments, said, tmp_path):
    done = run("fit", *(str(argument).format(tmp_path) for argument in arguments), "--quiet")
    assert done.code == cli.FAILED
    assert done.err.startswith("latentgate fit: ")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "fit.nc").exists()


def test_a_damaged_recording(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    done = run("fit", path, "--model", "poisson-hmm", "--states", 2, "--out", tmp_path / "fit.nc", "--quiet")
    assert done.code == cli.FAILED
    assert len(done.err.splitlines()) == 1


def test_an_interrupted_fit_is_kept(monkeypatch, tmp_path, fitted):
    from dataclasses import replace

    stopped = replace(lg.Fit.load(fitted[1]), outcome=Outcome.INTERRUPTED)
    monkeypatch.setattr(lg, "fit", lambda *args, **kwargs: stopped)
    path = tmp_path / "fit.nc"
    done = run(*GOOD, "--held-out", 0.25, "--json", "--out", path)
    assert done.code == cli.INTERRUPTED
    assert json.loads(done.out)["held_out"] is None
    assert lg.Fit.load(path).outcome is Outcome.INTERRUPTED


def test_an_interruption_before_there_is_a_fit(monkeypatch, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(lg, "fit", interrupted)
    done = run(*GOOD, "--out", tmp_path / "fit.nc")
    assert done.code == cli.INTERRUPTED
    assert done.err.splitlines()[-1] == "interrupted"
    assert not list(tmp_path.iterdir())


def test_a_fit_that_breaks_down(monkeypatch, tmp_path):
    def broken(*args, **kwargs):
        raise NonFiniteLikelihoodError(3, 1, {}, Outcome.UNDERFLOW)

    monkeypatch.setattr(lg, "fit", broken)
    done = run(*GOOD, "--quiet", "--out", tmp_path / "fit.nc")
    assert done.code == cli.FAILED
    assert "No restart has a finite log-joint (iteration 3, first in sequence 1)" in done.err


def test_engines_and_their_limits(monkeypatch, tmp_path, fitted):
    seen = []

    def kept(model, data, engine, **kwargs):
        seen.append((engine, kwargs.get("start")))
        return lg.Fit.load(fitted[1])

    monkeypatch.setattr(lg, "fit", kept)
    for engine in ("em", "map", "svi", "nuts"):
        assert run(*GOOD, "--engine", engine, "--iterations", 7, "--quiet", "--out", tmp_path / "fit.nc").code == cli.DONE
    em, maximum, svi, nuts = (engine for engine, _ in seen)
    assert isinstance(em, lg.EM)
    assert isinstance(maximum, lg.MAP)
    assert (em.max_iterations, maximum.max_iterations, svi.max_iterations, nuts.draws, nuts.warmup, nuts.chains) == (7, 7, 7, 7, 7, 4)
    seen.clear()
    assert run("fit", "simulated_insula", "--model", "one-hot-glm-hmm", "--states", 2, "--quiet", "--out", tmp_path / "fit.nc").code == cli.DONE
    assert [start is None for _, start in seen] == [True, False]
