"""The mistakes of the first day: what each of them meets, in one table. A mistake that works, and rightly, is a row too."""

from __future__ import annotations

import contextlib
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import latentgate as lg
from latentgate import devices
from latentgate.inference import blocks

NEURONS, STEPS, TRIALS = 5, 60, 8
RATES = np.array([0.2, 0.5, 1.0, 2.0, 4.0])
RNG = np.random.default_rng(0)
COUNTS = [RNG.poisson(RATES, (STEPS, NEURONS)).astype(float) for _ in range(TRIALS)]
CURVES = [RNG.normal(size=(STEPS, 2)) for _ in range(TRIALS)]
CHOICES = [(count[:, :1] > 0).astype(float) for count in COUNTS]
TABLE = pd.DataFrame({"id": [1, 1, 1, 2, 2], "time": [0.0, 1.0, 2.0, 0.0, 1.5], "state": ["well", "ill", "dead", "well", "ill"]})
ILLNESS = [(0, 1), (0, 2), (1, 2)]


class ReachedTheEngineError(Exception):
    """Every check has passed: compilation would come next."""


class Halting(lg.EM):
    """EM that stops where it would begin to compile."""

    def fit(self, task: Any) -> Any:
        raise ReachedTheEngineError


class World(NamedTuple):
    """What the mistakes are made with.

    Attributes:
        data: counts of a few trials, in bins of 50 ms.
        fit: of a Poisson HMM with two states to them.
        folder: an empty one.
        monkeypatch: of the test.
    """

    data: lg.Sequences
    fit: lg.Fit
    folder: Path
    monkeypatch: pytest.MonkeyPatch


class Row(NamedTuple):
    """One mistake.

    Attributes:
        name: of the test.
        make: the mistake; for one that works, it returns whether it worked rightly.
        meets: the exception or warning, or None if it works.
        says: what the message must contain: the argument, what was found, what to do.
    """

    name: str
    make: Callable[[World], Any]
    meets: type[BaseException] | None
    says: tuple[str, ...] = ()


def sequences(arrays: Any, **options: Any) -> lg.Sequences:
    return lg.Sequences.from_arrays(arrays, **options)


def poisson(num_states: Any = 2, neurons: Any = NEURONS) -> lg.HMM:
    return lg.HMM(num_states, lg.emissions.Poisson(neurons))


def fit(model: Any, data: Any, engine: Any = None, **options: Any) -> Any:
    return lg.fit(model, data, Halting() if engine is None else engine, **{"seed": 0, **options})


def regression(values: Any, **options: Any) -> Any:
    return fit(lg.HMM(2, lg.emissions.BernoulliGLM(2)), sequences(values, **options))


def until_the_engine(make: Callable[..., Any], *arguments: Any) -> None:
    with contextlib.suppress(ReachedTheEngineError):
        make(*arguments)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def without(world: World, module: str) -> None:
    """Hides an installed package, as if it were not."""
    for name in [name for name in sys.modules if name == "latentgate.adapters." + module or name.split(".")[0] == module]:
        world.monkeypatch.delitem(sys.modules, name)
    world.monkeypatch.setitem(sys.modules, module, None)


def far_from(world: World, folder: str) -> None:
    world.monkeypatch.setenv("LATENTGATE_DATA", folder)


def without_gpu(world: World) -> None:
    """What building a model meets where JAX_PLATFORMS=cuda, and JAX has no package for it."""
    world.monkeypatch.setattr(devices, "jax", types.SimpleNamespace(config=types.SimpleNamespace(jax_platforms="cuda")))
    world.monkeypatch.setattr(devices.importlib.metadata, "entry_points", lambda group: ())
    world.monkeypatch.setitem(sys.modules, "jax_plugins", None)
    devices.require_platforms()


def interrupt(world: World) -> bool:
    """Ctrl-C after the first block: what is there is kept, says so, and is a start."""
    fetched = []

    def device_get(value: Any) -> Any:
        if fetched:
            raise KeyboardInterrupt
        fetched.append(value)
        return jax.device_get(value)

    world.monkeypatch.setattr(blocks, "jax", types.SimpleNamespace(device_get=device_get))
    found = lg.fit(poisson(), world.data, lg.EM(max_iterations=4, block=2), seed=0)
    try:
        fit(poisson(), world.data, start=found)
    except ReachedTheEngineError:
        return found.outcome is lg.Outcome.INTERRUPTED and not found.converged and len(found.log_joint_history) == 2
    return False


def float64_late(world: World) -> bool:
    """The setting, changed when a fit is there already: the fit answers, now in float64."""
    before = world.fit.log_likelihood(world.data).values
    with jax.enable_x64(True):
        after = world.fit.log_likelihood(world.data).values
    return after.dtype == np.float64 and before.dtype == np.float32 and np.allclose(before, after, rtol=1e-4)


SHAPES = [
    Row("neurons by time", lambda w: fit(poisson(), sequences([a.T for a in COUNTS])), ValueError, ("found 60 features", "expected 5", "array.T")),
    Row(
        "trials by neurons by time",
        lambda w: fit(poisson(), sequences(np.stack(COUNTS).transpose(0, 2, 1))),
        ValueError,
        ("found 60 features", "[feature, time]", "transpose"),
    ),
    Row(
        "neurons by time, and a model of as many features",
        lambda w: fit(poisson(2, 70), sequences([np.vstack([a, a[:10]]).T for a in COUNTS])),
        UserWarning,
        ("arrays:", "5 steps and 70 features", "[time, feature]", "array.T", "filterwarnings"),
    ),
    Row("one array in place of a list", lambda w: sequences(COUNTS[0]), ValueError, ("`arrays`", "(60, 5)", "arrays=[array]")),
    Row("one neuron in place of a list", lambda w: sequences(COUNTS[0][:, 0]), ValueError, ("`arrays`", "(60,)", "arrays=[array]")),
    Row(
        "a list of neurons",
        lambda w: fit(poisson(), sequences(list(COUNTS[0].T))),
        ValueError,
        ("found 1 feature,", "expected 5", "the 5 neurons of one session", "np.stack(arrays, axis=1)"),
    ),
    Row(
        "a row for each session",
        lambda w: fit(poisson(), sequences([a[:1] for a in COUNTS])),
        UserWarning,
        ("data:", "8 sequences have one step", "arrays=[array]"),
    ),
    Row("an empty session", lambda w: sequences([COUNTS[0], COUNTS[1][:0]]), ValueError, ("sequence 1", "`arrays`", "empty", "Leave it out")),
    Row("no session", lambda w: sequences([]), ValueError, ("`arrays` is empty", "at least one")),
    Row(
        "sessions with other neurons",
        lambda w: sequences([COUNTS[0], COUNTS[1][:, :4]]),
        ValueError,
        ("sequence 1", "has 4 features but sequence 0 has 5", "NaN"),
    ),
    Row("a table", lambda w: sequences(pd.DataFrame(COUNTS[0])), TypeError, ("`arrays` is a DataFrame", "from_table", "to_numpy")),
    Row("no Sequences", lambda w: fit(poisson(), COUNTS), TypeError, ("data: found list", "lg.Sequences.from_arrays")),
    Row("the name of a recording", lambda w: fit(poisson(), "rat_insula"), TypeError, ("data: found str", "lg.load(...)")),
    Row("data before the model", lambda w: fit(w.data, poisson()), TypeError, ("model: found Sequences", "lg.fit(model, data, engine")),
]

VALUES = [
    Row("rates", lambda w: fit(poisson(), sequences([a / 0.07 for a in COUNTS], bin_width=0.07)), ValueError, ("expected counts", "not rates", "array * 0.07")),
    Row("rates that are whole", lambda w: fit(poisson(), sequences([20 * a for a in COUNTS])), UserWarning, ("counts:", "multiples of 20", "array / 20")),
    Row("counts, nearly", lambda w: fit(poisson(), sequences([a + 1e-7 * (a > 0) for a in COUNTS])), ValueError, ("data: found", "0000001", "np.rint(array)")),
    Row("negative counts", lambda w: fit(poisson(), sequences([a - 1 for a in COUNTS])), ValueError, ("data: found -1", "not negative", "NaN")),
    Row("z-scored counts", lambda w: fit(poisson(), sequences([a - a.mean() for a in COUNTS])), ValueError, ("raw spike counts", "z-scored", "Gaussian")),
    Row(
        "spike times",
        lambda w: fit(poisson(2, 1), sequences([np.sort(RNG.uniform(0, 9, n)) for n in (50, 70)])),
        ValueError,
        ("data: found", "they only increase", "from_spikes"),
    ),
    Row(
        "spike times of many neurons",
        lambda w: sequences([[[0.1, 0.5], [0.2], [0.3, 0.4, 0.9]]]),
        ValueError,
        ("sequence 0 of `arrays`", "rows of equal length", "from_spikes"),
    ),
    Row("text", lambda w: sequences([np.array([["2", "3"]])]), TypeError, ("`arrays`", "dtype <U1", ".astype(float)")),
    Row("objects", lambda w: sequences([np.array([[1, None]], object)]), TypeError, ("`arrays`", "dtype object", "NaN")),
    Row("dates", lambda w: sequences([pd.date_range("2026-01-01", periods=4).values]), TypeError, ("`arrays`", "datetime64", "seconds")),
    Row("true and false", lambda w: set(np.unique(sequences([a > 0 for a in COUNTS]).values)) == {0.0, 1.0}, None),
    Row("nothing but NaN", lambda w: sequences([np.full((4, 2), np.nan)]), ValueError, ("sequence 0", "missing (NaN)", "Leave the sequence out")),
    Row(
        "a neuron of NaN",
        lambda w: fit(poisson(), sequences([np.where(np.arange(NEURONS) == 2, np.nan, a) for a in COUNTS])),
        UserWarning,
        ("data:", "feature 2", "missing (NaN) at every step", "Leave such columns out"),
    ),
    Row(
        "labels from one",
        lambda w: fit(lg.HMM(2, lg.emissions.Categorical(3)), sequences([np.array([1.0, 2.0, 3.0])])),
        ValueError,
        ("data: found 3", "expected integers 0 to 2", "array - 1"),
    ),
    Row(
        "labels one-hot",
        lambda w: fit(lg.HMM(2, lg.emissions.Categorical(3)), sequences([np.eye(3)])),
        ValueError,
        ("data: found 3 features", "expected 1", "array.argmax(axis=1)"),
    ),
    Row("choices of -1 and 1", lambda w: regression([2 * c - 1 for c in CHOICES], inputs=CURVES), ValueError, ("found -1", "0 or 1", "(array + 1) / 2")),
    Row(
        "counts as spikes or none",
        lambda w: fit(lg.HMM(2, lg.emissions.Bernoulli(NEURONS)), w.data),
        ValueError,
        ("data: found", "expected 0 or 1", "lg.emissions.Poisson"),
    ),
]

TIME = [
    Row(
        "milliseconds for seconds",
        lambda w: fit(poisson(), sequences(COUNTS, bin_width=50)),
        UserWarning,
        ("bin_width: found 50 s", "bin_width=0.05", "filterwarnings"),
    ),
    Row("a width in words", lambda w: sequences(COUNTS, bin_width="50ms"), TypeError, ("`bin_width` is '50ms'", "positive number of seconds", "0.05")),
    Row(
        "events in milliseconds",
        lambda w: fit(poisson(), sequences(COUNTS, bin_width=0.05, events={"cue": [[1500.0]] * TRIALS})),
        UserWarning,
        ("events:", "'cue'", "milliseconds", "last up to 3 s"),
    ),
    Row(
        "times out of order",
        lambda w: sequences([COUNTS[0][:3]], times=[[0.0, 2.0, 1.0]]),
        ValueError,
        ("`times`", "1.0 at step 2 follows 2.0", "Sort the steps"),
    ),
    Row("a time twice", lambda w: sequences([COUNTS[0][:3]], times=[[0.0, 1.0, 1.0]]), ValueError, ("`times`", "1.0 at step 2 follows 1.0", "merge steps")),
    Row(
        "dates for times",
        lambda w: sequences([COUNTS[0][:4]], times=[pd.date_range("2026-01-01", periods=4)]),
        TypeError,
        ("`times`", "datetime64", "seconds"),
    ),
    Row(
        "timestamps in float32",
        lambda w: fit(lg.HMM(2, lg.emissions.Gaussian(1)), sequences([1.6e9 + np.arange(60.0)])),
        UserWarning,
        ("float32:", "feature 0 has mean 1.6e+09", "Take the mean off", "jax_enable_x64"),
    ),
    Row(
        "times on the clock of the machine",
        lambda w: fit(lg.MarkovJumpProcess(2), sequences([np.array([0.0, 1.0, 0.0])], times=[1.6e9 + np.array([0.0, 0.5, 2.0])])),
        UserWarning,
        ("float32:", "times up to 1.6e+09", "Take off the start", "jax_enable_x64"),
    ),
    Row("float64 too late", float64_late, None),
    Row(
        "a history longer than the trials",
        lambda w: fit(lg.HMM(2, lg.emissions.PoissonGLM(NEURONS, history=lg.basis.Exponential(100), coupling=lg.priors.Ridge())), w.data),
        UserWarning,
        ("history: found a window of 100 steps", "longest sequence has 60", "shorter"),
    ),
    Row("a history in seconds", lambda w: lg.basis.Exponential(0.25), ValueError, ("window: found 0.25", "integer of at least 1")),
    Row("a history of nothing", lambda w: lg.basis.Exponential(0), ValueError, ("window: found 0", "integer of at least 1")),
]

INPUTS = [
    Row(
        "inputs of another length",
        lambda w: sequences(COUNTS, inputs=[c[:-1] for c in CURVES]),
        ValueError,
        ("sequence 0 of `inputs`", "59 steps but the observations have 60", "one row of inputs per time step"),
    ),
    Row("inputs for some trials", lambda w: sequences(COUNTS, inputs=CURVES[:3]), ValueError, ("`inputs` has 3 entries for 8 sequences", "one each")),
    Row("inputs with NaN", lambda w: sequences([COUNTS[0]], inputs=[np.nan * CURVES[0]]), ValueError, ("`inputs`", "nan at step 0", "fill them in")),
    Row("no inputs", lambda w: regression(CHOICES), ValueError, ("inputs: found the sets none", "'inputs' for BernoulliGLM", "inputs={'inputs': [...]}")),
    Row(
        "too many inputs",
        lambda w: regression(CHOICES, inputs=[np.hstack([c, c]) for c in CURVES]),
        ValueError,
        ("inputs['inputs']: found 4 columns", "expected 2 for BernoulliGLM"),
    ),
    Row(
        "a mixture without inputs",
        lambda w: fit(lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2)), sequences([CURVES[0][:, :1]])),
        ValueError,
        ("inputs: found the sets none", "Softmax", "inputs={'inputs': [...]}"),
    ),
    Row(
        "inputs a billion from zero",
        lambda w: regression(CHOICES, inputs=[1e9 + c for c in CURVES]),
        UserWarning,
        ("float32:", "inputs['inputs']", "Take the mean off"),
    ),
]

MODELS = [
    Row("one state", lambda w: poisson(1).num_states == 1, None),
    Row("no state", lambda w: poisson(0), ValueError, ("num_states: found 0", "integer of at least 1")),
    Row("half a state", lambda w: poisson(2.5), ValueError, ("num_states: found 2.5", "integer of at least 1")),
    Row("ten thousand states", lambda w: fit(poisson(10_000), w.data), UserWarning, ("num_states: found 10000 for 480 steps", "Take fewer states")),
    Row(
        "more states than memory",
        lambda w: fit(lg.HMM(400, lg.emissions.Poisson(1)), sequences([np.ones(500)]), Halting(restarts=2_000_000)),
        UserWarning,
        ("num_states: found 400 for 500 steps", "2000000 restarts", "GB", "fewer states or restarts"),
    ),
    Row("emission before states", lambda w: lg.HMM(lg.emissions.Poisson(5), 3), ValueError, ("num_states: found Poisson(...)", "lg.HMM(num_states, emission)")),
    Row("the class of an emission", lambda w: lg.HMM(3, lg.emissions.Poisson), ValueError, ("emission: found the class Poisson without", "Poisson(20)")),
    Row("the name of an emission", lambda w: lg.HMM(3, "poisson"), ValueError, ("emission: found 'poisson'", "lg.emissions.Poisson(20)")),
    Row("half a neuron", lambda w: lg.emissions.Poisson(5.5), ValueError, ("num_neurons: found 5.5", "integer of at least 1")),
    Row("another number of neurons", lambda w: fit(poisson(2, 6), w.data), ValueError, ("found 5 features", "expected 6 for Poisson", "num_neurons=5")),
    Row("the columns left out", lambda w: fit(lg.LinearGaussianSSM(2), w.data), ValueError, ("found 5 features, expected 1", "emission_dim=5")),
    Row(
        "numbers for a Poisson",
        lambda w: fit(poisson(2, 2), sequences(CURVES)),
        ValueError,
        ("data: found", "expected counts 0, 1, 2, ... for Poisson", "lg.emissions.Gaussian"),
    ),
    Row("a prior that is a number", lambda w: lg.emissions.Poisson(5, prior=1.0), ValueError, ("prior: found 1.0", "a distribution of numpyro", "Gamma(...)")),
    Row(
        "a prior for any number, of rates",
        lambda w: lg.emissions.Poisson(5, prior=dist.Normal(0.0, 1.0)),
        ValueError,
        ("prior: found Normal", "every real number", "as Gamma is"),
    ),
    Row("a prior of negative scale", lambda w: lg.priors.Ridge(-1.0), ValueError, ("scale: found -1.0", "positive number")),
    Row(
        "the name of a prior",
        lambda w: lg.emissions.PoissonGLM(5, history=lg.basis.Exponential(5), coupling="onehot"),
        ValueError,
        ("coupling: found 'onehot'", "lg.priors", "OneHot"),
    ),
    Row(
        "coupling through nothing",
        lambda w: lg.emissions.PoissonGLM(5, coupling=lg.priors.Ridge()),
        ValueError,
        ("history: found None", "a basis (lg.basis)", "to act through"),
    ),
    Row("a prior that the model has not", lambda w: lg.emissions.Poisson(5, coupling=lg.priors.Ridge()), TypeError, ("'coupling'",)),
    Row(
        "gate and experts swapped",
        lambda w: lg.MixtureOfExperts(lg.experts.LinearGaussian(2), lg.gates.Softmax()),
        ValueError,
        ("gate: found LinearGaussian(...)", "one of lg.gates", "lg.gates.Softmax()"),
    ),
    Row("a name spelt wrongly", lambda w: lg.emission, AttributeError, ("no attribute 'emission'", "Did you mean 'emissions'?")),
]

ENGINES = [
    Row("the class of an engine", lambda w: fit(poisson(), w.data, lg.EM), TypeError, ("engine: found the class EM without parentheses", "lg.EM(...)")),
    Row("the name of an engine", lambda w: fit(poisson(), w.data, "EM"), TypeError, ("engine: found 'EM'", "lg.EM(...)", "lg.NUTS(...)")),
    Row("no seed", lambda w: lg.fit(poisson(), w.data), TypeError, ("'seed'",)),
    Row("a seed of None", lambda w: fit(poisson(), w.data, seed=None), TypeError, ("seed: found None", "an integer", "seed=0")),
    Row("a key for a seed", lambda w: fit(poisson(), w.data, seed=jax.random.key(0)), TypeError, ("seed: found", "an integer", "seed=0")),
    Row("no restart", lambda w: lg.EM(restarts=0), ValueError, ("restarts: found 0", "integer of at least 1")),
    Row("no iteration", lambda w: lg.EM(max_iterations=0), ValueError, ("max_iterations: found 0", "integer of at least 1")),
    Row("a negative tolerance", lambda w: lg.EM(tolerance=-1), ValueError, ("tolerance: found -1", "not negative")),
    Row("no draw", lambda w: lg.NUTS(draws=0), ValueError, ("draws: found 0", "integer of at least 1")),
    Row("EM for a flow", lambda w: fit(lg.LangevinFlow(2, NEURONS), w.data), TypeError, ("engine: found Halting with LangevinFlow", "lg.AmortisedSVI(...)")),
    Row("a start by name", lambda w: fit(poisson(), w.data, start="k-means"), TypeError, ("start: found 'k-means'", "a fit, or parameters")),
    Row("a start with other states", lambda w: fit(poisson(3), w.data, start=w.fit), ValueError, ("start: found a fit of an HMM with 2 states", "3 states")),
    Row("an interrupted fit", interrupt, None),
    Row(
        "more folds than trials",
        lambda w: lg.cross_validate({2: poisson()}, w.data, Halting(), num_folds=20, seed=0),
        ValueError,
        ("`num_folds` is 20", "expected 2 to 8"),
    ),
    Row(
        "one model to compare",
        lambda w: lg.cross_validate(poisson(), w.data, Halting(), num_folds=2, seed=0),
        TypeError,
        ("models: found HMM(...)", "{label: model}", "{2: lg.HMM"),
    ),
    Row("a GPU by its backend", lambda w: lg.HMM(2, lg.emissions.Poisson(5), backend="gpu"), ValueError, ("backend: found 'gpu'", "'auto'")),
]

FITS = [
    Row("data of other neurons", lambda w: w.fit.smooth(sequences([np.ones((9, 7))])), ValueError, ("found 7 features", "expected 5 for Poisson")),
    Row("an array to smooth", lambda w: w.fit.smooth(COUNTS[0]), TypeError, ("data: found ndarray", "lg.Sequences.from_arrays([...])")),
    Row("nothing to smooth", lambda w: w.fit.smooth(), TypeError, ("'data'",)),
    Row("test trials by number", lambda w: w.fit.log_likelihood([6, 7]), TypeError, ("data: found list", "expected lg.Sequences")),
    Row("a trial that is not there", lambda w: w.data.select([0, 99]), IndexError, ("`which` holds 99", "8 sequences")),
    Row("a number of trials for a share", lambda w: w.data.split(6, seed=0), ValueError, ("`fraction` is 6", "between 0 and 1", "training share")),
    Row("a criterion of arrays", lambda w: w.fit.bic(COUNTS), TypeError, ("data: found list", "lg.Sequences.from_arrays([...])")),
    Row("scores beside arrays", lambda w: w.fit.bits_per_spike(w.data, COUNTS), TypeError, ("train: found list", "lg.Sequences.from_arrays([...])")),
    Row("ArviZ for a point", lambda w: w.fit.to_arviz(), ValueError, ("a point estimate by EM", "posterior draws", "lg.NUTS(...)")),
    Row("states aligned to parameters", lambda w: w.fit.aligned_to(w.fit.params), TypeError, ("other: found", "a fit, as lg.fit returns it")),
    Row(
        "states aligned to more states",
        lambda w: w.fit.aligned_to(w.fit.__class__(**{**vars(w.fit), "params": {k: np.repeat(v, 2, 0) for k, v in w.fit.params.items()}})),
        ValueError,
        ("other: found", "shape (4", "as many states"),
    ),
    Row("a length for lengths", lambda w: w.fit.simulate(100, seed=0), TypeError, ("lengths: found 100", "in a list", "[100]")),
    Row("a decoder before its fit", lambda w: lg.KalmanDecoder().predict(COUNTS[0]), ValueError, ("KalmanDecoder", "not fitted", "'fit'")),
    Row(
        "kinematics of another length",
        lambda w: lg.KalmanDecoder().fit(COUNTS[0], CURVES[0][:-1]),
        ValueError,
        ("kinematics: found 59 bins", "expected 60", "one for each bin"),
    ),
    Row(
        "kinematics for neural",
        lambda w: lg.WienerFilter(lags=1, alpha=1.0).fit(CURVES, COUNTS),
        UserWarning,
        ("neural:", "no counts", "fit(neural, kinematics)"),
    ),
]

JUMPS = [
    Row("states by name", lambda w: lg.panel(TABLE, subject="id", time="time", state="state").num_sequences == 2, None),
    Row(
        "states from one",
        lambda w: fit(lg.MarkovJumpProcess(3, generator=ILLNESS), sequences([np.array([1.0, 2.0, 3.0])], times=[[0.0, 1.0, 2.0]])),
        ValueError,
        ("data: found 3", "expected a state 0 to 2", "array - 1"),
    ),
    Row(
        "a jump that cannot be",
        lambda w: fit(lg.MarkovJumpProcess(3, generator=ILLNESS), sequences([np.array([0.0, 2.0, 1.0])], times=[[0.0, 1.0, 2.0]])),
        ValueError,
        ("found state 1 in row 2", "no path along the graph", "Correct the row"),
    ),
    Row("no times", lambda w: fit(lg.MarkovJumpProcess(2), sequences([np.array([0.0, 1.0])])), ValueError, ("data: found no times", "times=[bin_width *")),
    Row(
        "a column that the table has not",
        lambda w: lg.panel(TABLE, subject="who", time="time", state="state"),
        ValueError,
        ("`subject`", "'who'", "it has: 'id'"),
    ),
    Row(
        "visits by date",
        lambda w: lg.panel(TABLE.assign(time=pd.date_range("2026-01-01", periods=5)), subject="id", time="time", state="state"),
        TypeError,
        ("'time'", "Timestamp", "numbers of days"),
    ),
]

FILES = [
    Row("a recording that is not known", lambda w: lg.load("rat_insulla"), ValueError, ("'rat_insulla'", "'rat_insula'")),
    Row(
        "a folder of recordings that is not there",
        lambda w: (far_from(w, "/nowhere"), lg.load("rat_insula", cache=w.folder, download=False)),
        lg.RecordingUnavailable,
        ("'rat_insula'", "/nowhere/rat_insula.mat", "LATENTGATE_DATA"),
    ),
    Row("a folder that is not there", lambda w: w.fit.save(w.folder / "new" / "fit.nc"), FileNotFoundError, ("`path`", "does not exist", "create it")),
    Row("a folder for a file", lambda w: w.fit.save(w.folder), IsADirectoryError, ("`path` is the folder", "the name of a file")),
    Row("a fit that is not there", lambda w: lg.Fit.load(w.folder / "fit.nc"), FileNotFoundError, ("path: found no file", "Fit.save")),
    Row("data for a fit", lambda w: lg.Fit.load(w.data.save(w.folder / "d.nc")), ValueError, ("path:", "It holds data", "lg.load")),
    Row("a fit for data", lambda w: lg.load(w.fit.save(w.folder / "f.nc")), ValueError, ("f.nc holds a fit", "lg.Fit.load")),
    Row(
        "half a file",
        lambda w: lg.Fit.load(written(w.folder / "half.nc", w.fit.save(w.folder / "f.nc").read_bytes()[:9000])),
        ValueError,
        ("half.nc", "cannot be read", "truncated"),
    ),
    Row(
        "an extra that is not installed",
        lambda w: (without(w, "pymc"), __import__("latentgate.adapters.pymc")),
        ImportError,
        ("no package 'pymc'", "pip install 'latentgate[pymc]'"),
    ),
    Row("a GPU that is not there", without_gpu, RuntimeError, ("jax_platforms: found 'cuda'", "JAX_PLATFORMS=cpu", "pip install")),
]

TABLE_OF_MISTAKES = [*SHAPES, *VALUES, *TIME, *INPUTS, *MODELS, *ENGINES, *FITS, *JUMPS, *FILES]


@pytest.fixture(scope="module")
def fitted() -> lg.Fit:
    return lg.fit(poisson(), sequences(COUNTS, bin_width=0.05), lg.EM(max_iterations=2, block=2), seed=0)


@pytest.fixture
def world(fitted, tmp_path, monkeypatch) -> World:
    return World(sequences(COUNTS, bin_width=0.05), fitted, tmp_path, monkeypatch)


@pytest.mark.parametrize("row", TABLE_OF_MISTAKES, ids=lambda row: row.name)
def test_a_mistake_meets_a_sentence_that_says_what_to_do(row, world):
    if row.meets is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            assert row.make(world)
    elif issubclass(row.meets, Warning):
        with pytest.warns(row.meets) as met:
            until_the_engine(row.make, world)
        said = [warning for warning in met if all(part in str(warning.message) for part in row.says)]
        assert len(said) == 1, [str(warning.message) for warning in met]
        assert said[0].filename == __file__, "the warning does not point at the user's line"
    else:
        with pytest.raises(row.meets) as met:
            row.make(world)
        assert not [part for part in row.says if part not in str(met.value)], str(met.value)


def unusual() -> dict[str, tuple[Any, lg.Sequences]]:
    """Data that are as they should be, near to where a warning begins."""
    many = np.random.default_rng(1).gamma(1.0, 1.0, 60)
    return {
        "short trials of many neurons": (poisson(2, 60), sequences([RNG.poisson(many, (35, 60)).astype(float) for _ in range(4)])),
        "epochs of half a minute": (poisson(), sequences([RNG.poisson(60 * RATES, (STEPS, NEURONS)).astype(float)], bin_width=30.0)),
        "a neuron that never fires": (poisson(), sequences([a * (RATES != 0.5) for a in COUNTS])),
        "every count twice the other": (poisson(2, 1), sequences([np.array([2.0, 4.0, 0.0, 2.0])])),
        "a clock that is not read": (poisson(), sequences(COUNTS, times=[1.6e9 + np.arange(60.0)] * TRIALS)),
        "a column of ones": (lg.HMM(2, lg.emissions.BernoulliGLM(2)), sequences(CHOICES, inputs=[np.hstack([c[:, :1], 0 * c[:, :1] + 1.0]) for c in CURVES])),
        "rows of a regression": (
            lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2)),
            sequences(list(CURVES[0][:, None, :1]), inputs=list(CURVES[0][:, None])),
        ),
        "a few events after the end": (poisson(), sequences(COUNTS, bin_width=0.05, events={"cue": [[1.0, 2.0, 3.5]] * TRIALS})),
        "some bins missing": (poisson(), sequences([np.where(RNG.random(a.shape) < 0.2, np.nan, a) for a in COUNTS])),
        "the recording that ships": (poisson(2, lg.load("simulated_insula").num_features), lg.load("simulated_insula")),
    }


@pytest.mark.parametrize("name", unusual())
def test_data_that_are_right_meet_no_warning(name):
    model, data = unusual()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(ReachedTheEngineError):
            fit(model, data)
