"""A run that is killed at any moment resumes to the same answer; a folder of another run, or a damaged one, is refused."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import latentgate as lg
from latentgate.inference.checkpoint import Checkpoint

LONG_RUN = Path(__file__).with_name("long_run.py")


def run(engine, folder, output, write=0):
    # What one process has compiled the next one reads.
    compiled = {"JAX_COMPILATION_CACHE_DIR": str(output.parent / "compiled"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    command = [sys.executable, str(LONG_RUN), engine, str(folder), str(output), str(write)]
    path = os.pathsep.join([str(LONG_RUN.parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(command, env={**os.environ, **compiled, "PYTHONPATH": path}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("engine", "writes"), [("EM", (3, 4, 6)), ("SVI", (9, 6)), ("NUTS", (8, 7))])
def test_killed_and_resumed_is_never_interrupted(engine, writes, tmp_path):
    whole = run(engine, "", tmp_path / "whole.npz")
    assert whole.returncode == 0, whole.stderr
    for write in writes:
        killed = run(engine, tmp_path / "checkpoint", tmp_path / "resumed.npz", write)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(engine, tmp_path / "checkpoint", tmp_path / "resumed.npz")
    assert resumed.returncode == 0, resumed.stderr
    with np.load(tmp_path / "whole.npz") as wanted, np.load(tmp_path / "resumed.npz") as found:
        assert set(found.files) == set(wanted.files)
        for name in wanted.files:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def small_fit(folder, **changes):
    data = lg.simulators.simulate_poisson_hmm(3, num_states=2, num_neurons=3, num_steps=30, num_sequences=changes.pop("num_sequences", 2)).data
    engine = lg.EM(max_iterations=changes.pop("max_iterations", 6), block=2, tolerance=0.0)
    return lg.fit(lg.HMM(2, lg.emissions.Poisson(3)), data, engine, seed=changes.pop("seed", 0), checkpoint=folder)


def test_a_finished_run_is_read_back_and_another_is_refused(tmp_path):
    first = small_fit(tmp_path / "run")
    again = small_fit(tmp_path / "run")
    np.testing.assert_array_equal(again.log_joint_history, first.log_joint_history)
    for changes, what in (({"seed": 1}, "seed"), ({"num_sequences": 3}, "data"), ({"max_iterations": 8}, "engine")):
        with pytest.raises(ValueError, match=f"a run with another {what}"):
            small_fit(tmp_path / "run", **changes)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        small_fit(tmp_path / "file")


def test_damaged_checkpoints_are_clear_errors(tmp_path):
    small_fit(tmp_path / "run")
    state, block = tmp_path / "run" / "run.EM.npz", tmp_path / "run" / "run.EM.block00001.npz"
    good = state.read_bytes()
    for damaged in (good[:200], b"", good[:100] + bytes([good[100] ^ 255]) + good[101:]):
        state.write_bytes(damaged)
        with pytest.raises(ValueError, match="truncated or altered"):
            small_fit(tmp_path / "run")
    np.savez(state, leaf0=np.zeros(3))
    with pytest.raises(ValueError, match="not a state of this run"):
        small_fit(tmp_path / "run")
    state.write_bytes(good)
    block.unlink()
    with pytest.raises(ValueError, match="is missing"):
        small_fit(tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        small_fit(tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(ValueError, match=r"has lost its run\.json"):
        small_fit(tmp_path / "run")


def test_states_of_another_shape_or_type_are_refused(tmp_path):
    stored = Checkpoint.open(tmp_path / "run", {"seed": 0})
    stored.store({"a": np.zeros(3)}, 1, {"history": np.zeros(2)})
    restored, blocks = stored.restore({"a": np.ones(3)})
    np.testing.assert_array_equal(restored["a"], np.zeros(3))
    assert len(blocks) == 1
    with pytest.raises(ValueError, match=r"an array of float64 \(3,\) where this run has float64 \(4,\)"):
        stored.restore({"a": np.ones(4)})


def test_the_identity_of_an_engine_is_the_same_in_every_process():
    def guide(model, data, scale=1.0):
        """Never called."""

    one, other = lg.SVI(guide), lg.SVI(guide, start_from=lg.EM(block=7))
    assert "0x" not in one.identity
    assert "guide" in one.identity
    assert one.identity != other.identity
