"""The benchmark scripts run and report what they say they do; how fast anything was is not looked at."""

import json
import os
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
        "assert all(m.startswith('latentgate.kernels') or m == 'latentgate.timing' for m in ours), ours"
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
    """Small: three replications of one case by the command, and ranks that do not move when states are renumbered."""
    path = tmp_path / "calibration.json"
    printed = run("calibration.py", "--replications", "3", "--short", "--case", "Poisson HMM", "--json", str(path))
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


def test_ratchet_compares_all_ways_on_the_same_subsets(tmp_path):
    path = tmp_path / "ratchet.json"
    printed = run("ratchet.py", "--small", "--json", str(path))
    report = json.loads(path.read_text())
    assert set(report["rows"]) == {"free", "shrunk", "V, r, b", "wrong labels: free"}
    for row in report["rows"].values():
        assert all(0 < error < 5 for entry in row.values() for error in entry["errors"])
    # Three parameters from eight paths know the rates better than thirty do.
    assert report["rows"]["V, r, b"]["8"]["errors"] < report["rows"]["shrunk"]["8"]["errors"] < report["rows"]["free"]["8"]["errors"]
    assert all(lower < middle < upper for middle, lower, upper in report["pooled"].values())
    assert len(report["readings"]["8"]) == 3
    for heading in ("foundation model, published", "95 % intervals", "Readings of m", "load"):
        assert heading in printed

    sys.path.insert(0, str(BENCHMARKS))
    try:
        from ratchet import OFF_DIAGONAL, TRUTH, ratchet_rates, subsets
    finally:
        sys.path.remove(str(BENCHMARKS))
    np.testing.assert_allclose(np.asarray(ratchet_rates({"V": 1.0, "r": 1.0, "b": 1.0}))[OFF_DIAGONAL], TRUTH[OFF_DIAGONAL], rtol=1e-6)
    for size in (1, 300):
        chosen = np.concatenate(subsets(10_000, size, 33))
        assert len(np.unique(chosen)) == 33 * size
    assert all(len(np.unique(chosen)) == 1000 for chosen in subsets(10_000, 1000, 33))


def test_jump_processes_compares_the_same_numbers_of_every_way(tmp_path):
    path = tmp_path / "jump_processes.json"
    printed = run("jump_processes.py", "--quick", "--json", str(path))
    report = json.loads(path.read_text())
    assert [set(row["timings"]) for row in report["matrices"]] == [
        {"shared powers", "eigendecomposition", "vmapped expm"},
        {"scaling", "vmapped expm"},
        {"shared powers", "eigendecomposition", "vmapped expm"},
    ]
    for row in report["matrices"]:
        for timing in row["timings"].values():
            check_timing(timing)
        assert max(row["differences"].values()) < 1e-10
        assert row["reached"] is None
    assert "times faster than expm" in printed


def test_coverage_simulates_what_the_model_says(tmp_path):
    """One replication by the command; and the panel's laws, by counting."""
    path = tmp_path / "coverage.json"
    printed = run("jump_coverage.py", "--replications", "1", "--short", "--json", str(path))
    report = json.loads(path.read_text())
    assert set(report["coverage"]) == {"Hessian", "NUTS"}
    assert all(0.0 <= share <= 1.0 for shares in report["coverage"].values() for share in shares.values())
    assert all(len(ranks) == 1 and 0 <= ranks[0] <= 99 for ranks in report["ranks"].values())
    assert "mean of all" in printed

    sys.path.insert(0, str(BENCHMARKS))
    try:
        from jump_coverage import simulated
    finally:
        sys.path.remove(str(BENCHMARKS))
    rates, labels = np.array([[0.0, 0.6, 0.3], [0.0, 0.0, 0.9], [0.0, 0.0, 0.0]]), np.array([[0.8, 0.2, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0]])
    data = simulated(0, {"transition.rates": rates, "emission.label.probs": labels}, num_subjects=3000)
    dead, label = data.values[..., 0] == 2, data.values[..., 1]
    # Of equal exit rates: the time of death is the sum of two sojourns with probability two thirds.
    alive = np.exp(-0.9 * 2.5) * (1 + 0.6 * 2.5)
    died = np.any(dead & data.observed[..., 0], axis=1)
    assert abs(died.mean() - (1 - alive)) < 4 * np.sqrt(alive * (1 - alive) / 3000)
    assert abs(label[:, 0].mean() - 0.2) < 4 * np.sqrt(0.16 / 3000)
    # A row is either a label or a death, which is exact and the last.
    assert np.array_equal(data.observed.sum(-1), data.mask)
    assert np.array_equal(data.inputs["arrival"][..., 0] == 1, data.observed[..., 0])


def test_convergence_states_its_rules_and_judges_nothing_when_quick():
    printed = run("convergence.py", "exact", "--quick")
    assert "Rules, fixed in advance" in printed
    assert "two lines: near-truth, hellinger" in printed
    assert "two lines: k-means, D1" in printed
    assert "holds" not in printed.split("Replications whose D1")[1]
    assert printed.count("not judged (quick)") >= 4


def test_first_calls_are_timed_in_processes_of_their_own(tmp_path):
    path = tmp_path / "first_call.json"
    run("first_call.py", "--only", "imports", "--json", str(path))
    assert json.loads(path.read_text())


def test_mixture_em_compares_the_same_climb(tmp_path):
    path = tmp_path / "mixture_em.json"
    printed = run("mixture_em.py", "--quick", "--json", str(path))
    assert "ratio" in printed
    assert json.loads(path.read_text())


@pytest.mark.skipif("LATENTGATE_DATA" not in os.environ, reason="needs the recordings that LATENTGATE_DATA points to")
def test_co_smoothing_prints_every_method_and_the_truth():
    printed = run("co_smoothing.py", "--quick", "--recordings", "lorenz_spikes", "--methods", "PSTH", "HMM", "Langevin flow, 16")
    for name in ("PSTH", "PSTH by condition", "HMM, 20", "Langevin flow, 16", "The true rates"):
        assert name in printed


@pytest.mark.skipif("LATENTGATE_DATA" not in os.environ, reason="needs the recordings that LATENTGATE_DATA points to")
def test_decisions_are_read_from_few_trials():
    printed = run("pmd_decisions.py", "--quick")
    assert "accuracy" in printed
    assert "logistic regression" in printed
