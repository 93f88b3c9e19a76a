"""Inside scikit-learn's own tools, the numbers are latentgate's and no session is ever cut."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import latentgate as lg
from latentgate.adapters.sklearn import SessionSplit, StateSpaceEstimator

# The longest of every fold is the same, and every session misses something: one compilation serves all folds.
LENGTHS = [20, 15, 9, 20]
GROUPS = np.repeat(list("badc"), LENGTHS)
ENGINE = lg.EM(max_iterations=6, restarts=1)
MODEL = lg.HMM(2, lg.emissions.Gaussian(2, "diagonal"))


@pytest.fixture(scope="module")
def array():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(sum(LENGTHS), 2)) + 4.0 * (np.arange(sum(LENGTHS))[:, None] // 5 % 2)
    values[[3, 22, 40, 50], 1] = np.nan
    return values


@pytest.fixture(scope="module")
def by_hand(array):
    """Held-out log-likelihood per step in two folds, without scikit-learn."""
    data = lg.Sequences.from_concatenated(array, lengths=LENGTHS)
    scores = []
    for train, test in data.folds(2):
        held_out = data.select(test)
        scores.append(float(lg.fit(MODEL, data.select(train), ENGINE, seed=3).log_likelihood(held_out).sum()) / held_out.num_steps)
    return scores


def test_every_kind_of_x_is_one_data_set(array):
    data = lg.Sequences.from_concatenated(array, lengths=LENGTHS)
    fit = lg.fit(MODEL, data, ENGINE, seed=3)
    states, probabilities = fit.most_probable_path(data).values, fit.smooth(data).values
    estimator = StateSpaceEstimator(MODEL, ENGINE, seed=3)
    pieces = np.split(array, np.cumsum(LENGTHS)[:-1])
    frame = pd.DataFrame(array, columns=["x", "y"]).assign(session=GROUPS)
    tables = [
        (estimator, array, {"lengths": LENGTHS}),
        (estimator, array, {"groups": GROUPS}),
        (clone(estimator).set_params(session_column="session"), frame, {}),
        (clone(estimator).set_params(session_column=0), np.column_stack([np.repeat([5, 3, 4, 1], LENGTHS), array]), {}),
    ]
    for estimator, x, sessions in tables:
        estimator.fit(x, **sessions)
        np.testing.assert_array_equal(estimator.predict(x, **sessions), np.concatenate([row[:n] for row, n in zip(states, LENGTHS, strict=True)]))
        expected = np.concatenate([row[:n] for row, n in zip(probabilities, LENGTHS, strict=True)])
        np.testing.assert_allclose(estimator.predict_proba(x, **sessions), expected, rtol=1e-6)
        assert estimator.score(x, **sessions) == pytest.approx(float(fit.log_likelihood(data).sum()) / sum(LENGTHS), rel=1e-6)
    for x in (pieces, data, [data.select(index) for index in range(4)]):
        estimator = StateSpaceEstimator(MODEL, ENGINE, seed=3).fit(x)
        assert [row.tolist() for row in estimator.predict(x)] == [row[:n].tolist() for row, n in zip(states, LENGTHS, strict=True)]


def test_inputs_come_from_columns_or_sequences():
    rng = np.random.default_rng(1)
    inputs, choices = rng.normal(size=(40, 2)), rng.integers(0, 2, (40, 1)).astype(float)
    model = lg.HMM(2, lg.emissions.BernoulliGLM(2, inputs="task"))
    estimator = StateSpaceEstimator(model, ENGINE, session_column="session", input_columns=["left", "right"], inputs="task")
    frame = pd.DataFrame({"left": inputs[:, 0], "choice": choices[:, 0], "right": inputs[:, 1], "session": np.repeat([1, 2], 20)})
    data = lg.Sequences.from_concatenated(choices, lengths=[20, 20], inputs={"task": inputs})
    score = estimator.fit(frame).score(frame)
    assert score == pytest.approx(StateSpaceEstimator(model, ENGINE).fit(data).score(data), rel=1e-6)
    parts = [data.select(0), data.select(1)]
    assert score == pytest.approx(StateSpaceEstimator(model, ENGINE).fit(parts).score(parts), rel=1e-6)


def test_splitter_deals_whole_sessions():
    x = np.zeros((sum(LENGTHS), 1))
    for splitter, given, groups in ((SessionSplit(3), x, GROUPS), (SessionSplit(3, session_column=0), pd.DataFrame({"s": GROUPS, "x": 0.0}), None)):
        tested = []
        for train, test in splitter.split(given, groups=groups):
            assert not set(GROUPS[train]) & set(GROUPS[test])
            assert sorted([*train, *test]) == list(range(len(x)))
            tested.extend(test)
        assert sorted(tested) == list(range(len(x)))
        assert splitter.get_n_splits() == 3
    assert [test.tolist() for _, test in SessionSplit(2).split([x, x, x])] == [[0, 2], [1]]
    with pytest.raises(ValueError, match="groups: found None, expected the session of each row"):
        next(SessionSplit(2).split(x))
    with pytest.raises(ValueError, match="expected 2 to 4"):
        next(SessionSplit(5).split(x, groups=GROUPS))


def test_cross_val_score_is_done_as_by_hand(array, by_hand):
    estimator = StateSpaceEstimator(MODEL, ENGINE, seed=3)
    table = np.column_stack([np.repeat([5, 3, 4, 1], LENGTHS), array])
    scores = cross_val_score(clone(estimator).set_params(session_column=0), table, cv=SessionSplit(2, session_column=0), error_score="raise")
    np.testing.assert_allclose(scores, by_hand, rtol=1e-6)
    pieces = np.split(array, np.cumsum(LENGTHS)[:-1])
    np.testing.assert_allclose(cross_val_score(estimator, pieces, cv=SessionSplit(2), error_score="raise"), by_hand, rtol=1e-6)
    assert np.isfinite(cross_val_score(estimator, pieces, cv=KFold(2), error_score="raise")).all()
    with sklearn.config_context(enable_metadata_routing=True):
        routed = cross_val_score(estimator, array, cv=SessionSplit(2), params={"groups": GROUPS}, error_score="raise")
    np.testing.assert_allclose(routed, by_hand, rtol=1e-6)


def test_grid_search_over_models_and_numbers_of_states(array):
    pieces = np.split(array, np.cumsum(LENGTHS)[:-1])
    one = lg.HMM(1, MODEL.emission)
    over_models = GridSearchCV(StateSpaceEstimator(MODEL, ENGINE), {"model": [one, MODEL]}, cv=SessionSplit(2), error_score="raise").fit(pieces)
    assert over_models.best_params_["model"].num_states == 2
    assert over_models.best_estimator_.fit_.params["emission.means"].shape == (2, 2)
    over_numbers = GridSearchCV(StateSpaceEstimator(MODEL, ENGINE), {"num_states": [1, 2]}, cv=SessionSplit(2), error_score="raise").fit(pieces)
    np.testing.assert_allclose(over_numbers.cv_results_["mean_test_score"], over_models.cv_results_["mean_test_score"])


def test_pipelines_pass_sessions_on(array):
    scaled = Pipeline([("scale", StandardScaler()), ("hmm", StateSpaceEstimator(MODEL, ENGINE, seed=3))])
    with sklearn.config_context(enable_metadata_routing=True):
        scores = cross_val_score(scaled, array, cv=SessionSplit(2), params={"groups": GROUPS}, error_score="raise")
        states = scaled.fit(array, groups=GROUPS).predict(array, groups=GROUPS)
    assert np.isfinite(scores).all()
    columns = ColumnTransformer([("scale", StandardScaler(), [1, 2])], remainder="passthrough")
    piped = Pipeline([("scale", columns), ("hmm", StateSpaceEstimator(MODEL, ENGINE, seed=3, session_column=-1))])
    table = np.column_stack([np.repeat([5, 3, 4, 1], LENGTHS), array])
    np.testing.assert_array_equal(piped.fit(table).predict(table), states)
    np.testing.assert_allclose(cross_val_score(piped, table, cv=SessionSplit(2, session_column=0), error_score="raise"), scores, rtol=1e-6)


def test_parameters_and_clones(array):
    estimator = StateSpaceEstimator(MODEL, ENGINE, seed=3, session_column="session")
    assert set(estimator.get_params()) == {"model", "engine", "seed", "num_states", "session_column", "input_columns", "inputs"}
    copy = clone(estimator).set_params(seed=4, session_column=None)
    assert (copy.seed, estimator.seed) == (4, 3)
    assert not hasattr(clone(copy.fit(array)), "fit_")
    assert copy.n_features_in_ == 2
    with pytest.raises(NotFittedError):
        estimator.predict(array)


def test_errors_name_what_is_wrong(array):
    estimator = StateSpaceEstimator(MODEL, ENGINE)
    with pytest.raises(ValueError, match="found session 'a' in two pieces"):
        estimator.fit(array, groups=np.where(np.arange(len(array)) % 2, "a", "b"))
    with pytest.raises(ValueError, match=r"groups: found shape \(3,\), expected one label for each of the 64 rows"):
        estimator.fit(array, groups=[1, 2, 3])
    with pytest.raises(ValueError, match="lengths: found beside groups"):
        estimator.fit(array, groups=GROUPS, lengths=LENGTHS)
    with pytest.raises(ValueError, match="whose sessions are apart already"):
        estimator.fit([array], lengths=LENGTHS)
    with pytest.raises(ValueError, match="found 'session', expected a column of X: 0, 1"):
        StateSpaceEstimator(MODEL, session_column="session").fit(array)
    with pytest.raises(TypeError, match="model: found int, expected a latentgate model"):
        StateSpaceEstimator(3).fit(array)
    with pytest.raises(TypeError, match="X: found str, expected an array"):
        estimator.fit("data")
    with pytest.raises(TypeError, match=r"arrays beside lg.Sequences"):
        estimator.fit([array, lg.Sequences.from_arrays([array])])
