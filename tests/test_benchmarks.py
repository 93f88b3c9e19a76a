"""The benchmark scripts run and report what they say they do; how fast anything was is not looked at."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def run(script: str, *arguments: str) -> str:
    finished = subprocess.run([sys.executable, str(BENCHMARKS / script), *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def check_timing(timing: dict) -> None:
    assert 0 < timing["lower_quartile_s"] <= timing["median_s"] <= timing["upper_quartile_s"]
    assert timing["rounds"] >= 1
    assert timing["first_call_s"] > 0


def test_discrete_compares_the_same_numbers_of_every_peer(tmp_path):
    pytest.importorskip("dynamax")
    pytest.importorskip("hmmlearn")
    path = tmp_path / "discrete.json"
    printed = run("discrete.py", "--quick", "--json", str(path))
    report = json.loads(path.read_text())

    assert {"cpu", "cores", "versions"} <= set(report["machine"])
    assert {"latentgate", "jax", "dynamax", "hmmlearn"} <= set(report["machine"]["versions"])
    assert set(report["load_average"]) == {"start", "end"}
    peers = {
        "smoother": {"latentgate", "latentgate in jit", "dynamax", "hmmlearn", "hmmlearn C++"},
        "log_smoother": {"latentgate", "hmmlearn", "hmmlearn C++"},
        "gradient": {"latentgate", "dynamax"},
        "em": {"latentgate", "dynamax", "dynamax kept", "hmmlearn"},
    }
    assert {name: set(rows[0]["timings"]) for name, rows in report["groups"].items()} == peers
    for rows in report["groups"].values():
        for row in rows:
            for timing in row["timings"].values():
                check_timing(timing)
            assert set(row["ratios"]) == set(row["timings"]) - {"latentgate"}
            assert row["differences"]
            assert max(row["differences"].values()) < 1e-9
            # Targets are about full sizes.
            assert row["targets"] == row["reached"] == {}
    assert [row["name"] for row in report["groups"]["em"]] == ["EM, first call", "EM, second call"]
    for heading in ("Smoother", "sums of logarithms", "gradient", "EM iterations", "targets reached: 0 of 0", "load"):
        assert heading in printed


def test_gaussian_compares_the_same_numbers_of_every_peer(tmp_path):
    for peer in ("dynamax", "statsmodels", "pykalman"):
        pytest.importorskip(peer)
    path = tmp_path / "gaussian.json"
    run("gaussian.py", "--quick", "--operations", "smooth", "--json", str(path))
    report = json.loads(path.read_text())
    assert {"latentgate", "dynamax", "statsmodels", "pykalman"} <= set(report["machine"]["versions"])
    rows = [row for group in report["groups"].values() for row in group]
    assert rows
    for row in rows:
        for timing in row["timings"].values():
            check_timing(timing)
        assert max(row["differences"].values(), default=0.0) < 1e-8


def test_gpu_script_says_that_there_is_no_device():
    import jax

    try:
        jax.devices("cuda")
    except RuntimeError:
        assert "no CUDA device: nothing measured" in run("gpu.py").splitlines()
    else:
        pytest.skip("there is a CUDA device, and measuring it takes minutes")


def test_gpu_script_measures_every_backend_and_precision(tmp_path):
    path = tmp_path / "gpu.json"
    printed = run("gpu.py", "--platform", "cpu", "--operations", "smooth", "sample", "--json", str(path))
    report = json.loads(path.read_text())

    assert report["bandwidth_bytes_per_s"] > 0
    found = {(row["operation"], row["backend"], row["dtype"]) for row in report["rows"]}
    assert found == {(o, b, d) for o in ("smooth", "sample") for b in ("sequential", "associative") for d in ("float32", "float64")}
    for row in report["rows"]:
        check_timing(row)
        assert row["floor_s"] == pytest.approx(row["bytes"] / report["bandwidth_bytes_per_s"])
        assert row["disagreement"] < (1e-6 if row["dtype"] == "float32" else 1e-13)
        assert f"{row['operation']}  K={row['num_states']} {row['batch']}x{row['num_steps']}" in printed
    # Read: K + K² + TK numbers; written: log-normaliser, TK marginals, K² expected transitions, one flag, for each sequence.
    row = next(row for row in report["rows"] if (row["operation"], row["dtype"]) == ("smooth", "float64"))
    states, batch, steps = row["num_states"], row["batch"], row["num_steps"]
    read = states + states**2 + batch * steps * states
    written = batch * (1 + steps * states + states**2)
    assert row["bytes"] == 8 * (read + written) + batch


def test_gpu_script_needs_jax_and_numpy_alone():
    """Everything it loads of third parties comes with JAX; latentgate gives its kernels."""
    code = (
        "import sys; before = set(sys.modules); import jax, numpy, jax.random, jax.lax; with_jax = {m.split('.')[0] for m in sys.modules};"
        f"sys.path.insert(0, {str(BENCHMARKS)!r}); import gpu;"
        "new = {m.split('.')[0] for m in sys.modules} - with_jax - set(sys.stdlib_module_names);"
        "assert new <= {'latentgate', 'gpu', 'side_by_side'}, new;"
        "ours = {m for m in sys.modules if m.startswith('latentgate.')};"
        "assert all(m.startswith('latentgate.kernels') for m in ours), ours"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert finished.returncode == 0, finished.stderr


def test_sampling_compares_the_same_gradients(tmp_path):
    path = tmp_path / "sampling.json"
    printed = run("sampling.py", "--quick", "--json", str(path))
    report = json.loads(path.read_text())
    (row,) = report["gradient"]
    assert {"latentgate", "numpyro, forward scan"} <= set(row["timings"])
    assert max(row["differences"].values()) < 1e-12
    assert row["target"] is None
    assert all(entry["smallest_ess"] > 0 for entry in report["nuts"].values())
    assert "NUTS" in printed


def test_calibration_ranks_quantities_whatever_the_numbering_of_the_states(tmp_path):
    """Small: three replications by the command, and ranks that do not move when states are renumbered."""
    path = tmp_path / "calibration.json"
    printed = run("calibration.py", "--replications", "3", "--short", "--json", str(path))
    assert "smallest p" in printed
    for result in json.loads(path.read_text()).values():
        assert all(len(ranks) == 3 and min(ranks) >= 0 and max(ranks) <= 99 for ranks in result["ranks"].values())
        assert set(result["p_values"]) == set(result["ranks"])

    sys.path.insert(0, str(BENCHMARKS))
    try:
        from calibration import CASES, quantities
    finally:
        sys.path.remove(str(BENCHMARKS))
    rng = np.random.default_rng(0)
    case = CASES["Poisson HMM"]
    params = {"initial.probs": rng.random((5, 2)), "transition.probs": rng.random((5, 2, 2)), "emission.rates": rng.random((5, 2, 2))}
    turned = {"initial.probs": params["initial.probs"][:, ::-1], "transition.probs": params["transition.probs"][:, ::-1, ::-1]}
    turned["emission.rates"] = params["emission.rates"][:, ::-1]
    one, other = (quantities(case, each, np.zeros(5)) for each in (params, turned))
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])
