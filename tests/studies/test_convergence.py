"""The runner: seeds, units, executors, checkpoints, and what is refused before anything is computed."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from scipy.stats import norm

from latentgate.studies import ParameterError, Study, convergence_rates, log_spaced
from latentgate.studies.units import chunked

SIZES = [50, 400, 3000]


def studied(toys, estimators=None, **changes):
    Normal, SampleMean, _ = toys
    given = {"truth": Normal(), "estimators": SampleMean() if estimators is None else estimators, "sample_sizes": SIZES, "replications": 8, "seed": 3}
    # Few rows at once, so that the larger sizes have several units, the last of which runs over the end.
    return convergence_rates(**{**given, "rows_at_once": 1500, **changes})


def test_error_of_a_sample_mean_falls_at_the_root_of_n(toys):
    study = studied(toys, sample_sizes=log_spaced(100, 10_000, 5), replications=300, rows_at_once=2**20)
    slopes = study.slopes()
    low, high = slopes.slope_interval.values.squeeze()
    assert low < -0.5 < high
    assert high - low < 0.1
    # E|mean - 3| = 2 sqrt(2 / (pi n)).
    np.testing.assert_allclose(study.results.error.mean("replication").squeeze() * np.sqrt(study.results["size"]), 2 * np.sqrt(2 / np.pi), rtol=0.12)
    scaled = (study.results.error * np.sqrt(study.results["size"]) / 2).values.ravel()
    np.testing.assert_allclose(np.quantile(scaled, [0.5, 0.9]), norm.ppf([0.75, 0.95]), rtol=0.08)


def test_numbers_do_not_depend_on_what_else_is_studied(toys):
    _, SampleMean, _ = toys
    noisy = SampleMean(name="noisy", noise=1.0)
    whole = studied(toys, [SampleMean(), SampleMean(name="other", offset=1.0), noisy])
    part = studied(toys, [noisy], sample_sizes=SIZES[1:])
    np.testing.assert_array_equal(whole.results.error.sel(estimator="noisy", size=SIZES[1:]), part.results.error.sel(estimator="noisy"))
    # All estimators see the same data, and replications differ.
    mean = whole.results.error.sel(estimator="mean").values
    other = whole.results.error.sel(estimator="other").values
    np.testing.assert_allclose(np.minimum(abs(other - 1 - mean), abs(other - 1 + mean)), 0, atol=1e-12)
    assert len(np.unique(mean)) == mean.size
    another = studied(toys, seed=4)
    assert not np.isin(another.results.error.values, mean).any()


def test_chunks_are_equal_and_cover_all_replications():
    assert chunked(1000, 7, 3000) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert chunked(10**6, 3, 1000) == [(0,), (1,), (2,)]
    assert chunked(10, 40, 10**6) == [tuple(range(40))]


@pytest.mark.parametrize("kind", ["threads", "dask"])
def test_executors_give_the_same_numbers(toys, kind):
    here = studied(toys)
    if kind == "threads":
        with ThreadPoolExecutor(2) as executor:
            there = studied(toys, executor=executor)
    else:
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
        ):
            there = studied(toys, executor=client)
    xr.testing.assert_identical(here.results, there.results)


def test_interrupted_study_is_resumed_and_does_nothing_twice(toys, tmp_path):
    _, SampleMean, Calls = toys
    whole = studied(toys)
    units = sum(len(chunked(size, 8, 1500)) for size in SIZES)
    calls = Calls(breaks_at=4)
    with pytest.raises(RuntimeError, match="power cut"):
        studied(toys, SampleMean(calls=calls), checkpoint=tmp_path)
    assert len(calls.shapes) == 4
    resumed = studied(toys, SampleMean(calls=calls), checkpoint=tmp_path)
    xr.testing.assert_identical(whole.results, resumed.results)
    # Three units were stored before the fourth broke.
    assert len(calls.shapes) == 4 + units - 3
    studied(toys, SampleMean(calls=calls), checkpoint=tmp_path)
    assert len(calls.shapes) == 4 + units - 3


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"seed": 4}, "seed"), ({"sample_sizes": [50, 400]}, "sample_sizes"), ({"replications": 9}, "replications"), ({"estimators": 0.5}, "estimators")],
)
def test_checkpoint_of_another_study_is_refused(toys, tmp_path, changes, what):
    _, SampleMean, _ = toys
    if "estimators" in changes:
        changes = {"estimators": SampleMean(offset=changes["estimators"])}
    studied(toys, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=f"holds a run with another .*{what}"):
        studied(toys, checkpoint=tmp_path, **changes)


def test_own_functions_are_told_apart_by_what_they_do():
    from latentgate.studies.identity import described

    def shifted(by):
        return lambda x: x + by

    assert described(shifted(1.0)) == described(shifted(1.0))
    assert described(shifted(1.0)) != described(shifted(2.0))
    assert described(lambda x: x * 2) != described(lambda x: x * 3)


def test_study_survives_a_file(toys, tmp_path):
    study = studied(toys, window=(50, 400))
    again = Study.load(study.save(tmp_path / "study.nc"))
    xr.testing.assert_identical(again.results, study.results)
    xr.testing.assert_identical(again.slopes(draws=10), study.slopes(draws=10))
    assert again.window == (50, 400)
    assert again.results.converged.dtype == bool
    (tmp_path / "damaged.nc").write_bytes((tmp_path / "study.nc").read_bytes()[:3000])
    with pytest.raises(ValueError, match="truncated or not a study"):
        Study.load(tmp_path / "damaged.nc")
    xr.Dataset({"x": 1.0}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(ValueError, match="expected 'latentgate study 1'"):
        Study.load(tmp_path / "other.nc")


def test_slopes_use_the_window_that_was_fixed(toys):
    study = studied(toys, window=(300, 5000))
    errors = study.results.error.mean("replication").squeeze().values
    np.testing.assert_allclose(study.slopes(draws=2).slope.squeeze(), np.log(errors[2] / errors[1]) / np.log(SIZES[2] / SIZES[1]), rtol=1e-12)


def test_figure_shows_losses_and_the_fitted_line(toys):
    from matplotlib import pyplot

    _, SampleMean, _ = toys
    study = studied(toys, [SampleMean(), SampleMean(name="worse", offset=0.5)])
    ax = study.plot()
    slope = study.slopes("error", draws=1).slope.values.ravel()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert [f"{value:.3f}" in "".join(labels) for value in slope] == [True, True]
    assert {"mean", "worse"} <= set(labels)
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    np.testing.assert_allclose(np.polyfit(np.log(dashed[0].get_xdata()), np.log(dashed[0].get_ydata()), 1)[0], slope[0], rtol=1e-9)
    bars = [collection for collection in ax.collections if len(collection.get_paths()) == len(SIZES)]
    heights = np.ptp(bars[0].get_paths()[0].vertices[:, 1])
    np.testing.assert_allclose(heights, 4 * study.results.error.sel(estimator="mean")[0, 0].values.std(), rtol=1e-9)
    pyplot.close(ax.figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_sizes": [100, 50]}, "sample_sizes: found 50 after 100, expected increasing sizes"),
        ({"sample_sizes": []}, "sample_sizes: found none, expected positive integers"),
        ({"sample_sizes": [10.5]}, r"sample_sizes: found 10\.5, expected positive integers"),
        ({"replications": 1}, "replications: found 1, expected an integer of at least 2"),
        ({"losses": ["D3"]}, "losses: found 'D3', expected a Loss or one of .*'error'"),
        ({"losses": ["D1"]}, "'D1', which reads gate.bias, .* the truth 'normal' has only mean"),
        ({"losses": ["hellinger"]}, "without a mixture of experts as its model"),
        ({"losses": [ParameterError("median")]}, "the error of 'median', expected a parameter of 'normal': mean"),
        ({"losses": ["error", ParameterError("mean", "error")]}, "the name 'error' twice"),
        ({"losses": [ParameterError("mean", "converged")]}, "the name 'converged' twice"),
        ({"losses": []}, "losses: found none, expected at least one"),
        ({"window": (60, 70)}, "window: found 60 to 70, expected a range that holds at least two"),
        ({"executor": 3}, "executor: found int, expected a dask.distributed.Client"),
        ({"truth": []}, "truth: found none, expected at least one"),
        ({"estimators": ["mean"]}, "estimators: found 'mean', expected a Estimator"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_is_computed(toys, changes, message):
    _, SampleMean, Calls = toys
    calls = Calls()
    with pytest.raises(ValueError, match=message):
        studied(toys, **{"estimators": SampleMean(calls=calls), **changes})
    assert calls.shapes == []


def test_two_estimators_of_one_name_are_refused(toys):
    _, SampleMean, _ = toys
    with pytest.raises(ValueError, match="estimators: found the name 'mean' 2 times"):
        studied(toys, [SampleMean(), SampleMean(offset=1.0)])
    named = studied(toys, {"plain": SampleMean(), "shifted": SampleMean(offset=1.0)})
    assert named.results["estimator"].values.tolist() == ["plain", "shifted"]
    assert named.results["start"].values.tolist() == ["none", "none"]


def test_sizes_at_equal_ratios():
    assert log_spaced(100, 100_000, 4) == [100, 1000, 10_000, 100_000]
    with pytest.raises(ValueError, match="count: found 10, expected fewer: only 3"):
        log_spaced(1, 3, 10)
    with pytest.raises(ValueError, match="expected 1 <= low < high"):
        log_spaced(10, 10, 3)
