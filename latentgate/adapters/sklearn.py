"""latentgate models as scikit-learn estimators, and a splitter that never cuts a session.

What is a sample? scikit-learn's tools slice rows, and a session must stay whole. Three kinds of X are taken:

- one array or data frame [time, feature], whose rows are steps. Which session a step belongs to is said by a column (`session_column`), which follows X
  everywhere, or by `groups`, one label a row, or by `lengths`. `groups` reach an estimator inside scikit-learn's tools by metadata routing alone:
  `sklearn.set_config(enable_metadata_routing=True)`. Split such data with `SessionSplit`.
- a list with one [time, feature] array, or one `lg.Sequences`, a session: samples are sessions, and any splitter will do.
- an `lg.Sequences`, outside scikit-learn's tools, which cannot slice it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import xarray as xr
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils.validation import check_is_fitted

from latentgate.data import Sequences, splits
from latentgate.inference import Engine, Fit, fit
from latentgate.models import StateSpaceModel


class StateSpaceEstimator(DensityMixin, BaseEstimator):
    """Any latentgate model with scikit-learn's habits: fit, predict, predict_proba, score, get_params, set_params, clone.

    See the module for the kinds of X. `y` is ignored everywhere. NaN in X marks what is missing.

    Args:
        model: for example `lg.HMM(3, lg.emissions.Poisson(20))`; a parameter like any other, so that `GridSearchCV` can choose among models.
        engine: `lg.EM(...)`, `lg.MAP(...)`, `lg.SVI(...)` or `lg.NUTS(...)`; EM with its defaults if None.
        seed: of the starting points.
        num_states: in place of the model's own number, if not None.
        session_column: column of X, by number or name, with the session of each step. It is no observation.
        input_columns: columns of X, by number or name, that are inputs (covariates) rather than observations.
        inputs: the name under which the model reads these.

    Attributes:
        fit_: the `lg.Fit`, with everything that can be asked of it.
        n_features_in_: columns of X.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> from sklearn.model_selection import cross_val_score
        >>> from latentgate.adapters.sklearn import SessionSplit, StateSpaceEstimator
        >>> rng = np.random.default_rng(0)
        >>> X = np.column_stack([np.repeat([0, 1, 2, 3], 20), rng.poisson(2.0, (80, 3))])
        >>> estimator = StateSpaceEstimator(lg.HMM(2, lg.emissions.Poisson(3)), lg.EM(max_iterations=5), session_column=0)
        >>> cross_val_score(estimator, X, cv=SessionSplit(2, session_column=0)).shape
        (2,)
        >>> estimator.fit(X).predict(X).shape
        (80,)
    """

    # Requested from scikit-learn's metadata routing by default: labels that are ignored would glue sessions together.
    __metadata_request__fit = {"groups": True}  # noqa: RUF012 - scikit-learn's protocol
    __metadata_request__predict = {"groups": True}  # noqa: RUF012
    __metadata_request__predict_proba = {"groups": True}  # noqa: RUF012
    __metadata_request__score = {"groups": True}  # noqa: RUF012

    def __init__(
        self,
        model: StateSpaceModel,
        engine: Engine | None = None,
        seed: int = 0,
        *,
        num_states: int | None = None,
        session_column: int | str | None = None,
        input_columns: Sequence[int] | Sequence[str] | None = None,
        inputs: str = "inputs",
    ):
        self.model = model
        self.engine = engine
        self.seed = seed
        self.num_states = num_states
        self.session_column = session_column
        self.input_columns = input_columns
        self.inputs = inputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def fit(self, X: Any, y: Any = None, *, groups: Any = None, lengths: Any = None) -> StateSpaceEstimator:
        """Fits the model.

        Args:
            X: see the module.
            y: ignored.
            groups: session of each row of one array.
            lengths: number of steps of each session of one array.

        Raises:
            TypeError, ValueError: if X, groups and lengths do not fit each other, or the data do not belong to the model.
        """
        data = self.sequences(X, groups=groups, lengths=lengths)
        self.fit_: Fit = fit(self._model(), data, self.engine, seed=self.seed, progress=False)
        self.n_features_in_: int = np.shape(X)[1] if _is_table(X) else data.num_features
        return self

    def predict(self, X: Any, *, groups: Any = None, lengths: Any = None) -> Any:
        """Most probable states (Viterbi): int [step] for one array, a list of such arrays, one a session, for a list or `lg.Sequences`."""
        check_is_fitted(self, "fit_")
        data = self.sequences(X, groups=groups, lengths=lengths)
        return _in_rows(self.fit_.most_probable_path(data).values, data, X)

    def predict_proba(self, X: Any, *, groups: Any = None, lengths: Any = None) -> Any:
        """Probability of each state given all data of the session: [step, state], or a list of such arrays as in `predict`."""
        check_is_fitted(self, "fit_")
        data = self.sequences(X, groups=groups, lengths=lengths)
        smoothed = self.fit_.smooth(data)
        if isinstance(smoothed, xr.Dataset):
            raise ValueError(f"predict_proba: found a fit of {type(self.model).__name__}, which has latents and no states; predict gives their path.")
        return _in_rows(smoothed.values, data, X)

    def score(self, X: Any, y: Any = None, *, groups: Any = None, lengths: Any = None, sample_weight: None = None) -> float:
        """Mean log-likelihood of a step, states integrated out, in nats; greater is better, and comparable between folds of different lengths.

        `sample_weight` is there because pipelines pass it; steps of a session depend on each other and cannot be weighted, so it must be None.
        """
        check_is_fitted(self, "fit_")
        if sample_weight is not None:
            raise ValueError("sample_weight: found weights, expected None; the steps of a session cannot be weighted one by one.")
        data = self.sequences(X, groups=groups, lengths=lengths)
        return float(self.fit_.log_likelihood(data).sum()) / data.num_steps

    def sequences(self, X: Any, *, groups: Any = None, lengths: Any = None) -> Sequences:
        """X as the model sees it.

        Raises:
            TypeError, ValueError: as `fit`.
        """
        if not _is_table(X):
            if groups is not None or lengths is not None:
                raise ValueError(f"groups, lengths: found one of them beside {type(X).__name__}, whose sessions are apart already; expected neither.")
            return _of_sessions(X, self.inputs)
        given = [name for name, value in (("groups", groups), ("lengths", lengths), ("session_column", self.session_column)) if value is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: found beside {given[0]}, expected one of groups, lengths and session_column to say what a session is.")
        if groups is not None or self.session_column is not None:
            labels = np.asarray(groups) if groups is not None else _column(X, self.session_column)
            lengths = _lengths(labels, np.shape(X)[0])
        if lengths is None:
            lengths = [np.shape(X)[0]]
        columns = _columns(X)
        of_inputs = [] if self.input_columns is None else [_position(columns, column) for column in self.input_columns]
        aside = [*of_inputs, *([] if self.session_column is None else [_position(columns, self.session_column)])]
        observed = [position for position in range(len(columns)) if position not in aside]
        table = X.iloc if hasattr(X, "iloc") else np.asarray(X)
        inputs = {self.inputs: np.asarray(table[:, of_inputs], float)} if of_inputs else None
        return Sequences.from_concatenated(np.asarray(table[:, observed], float), lengths=lengths, inputs=inputs)

    def _model(self) -> StateSpaceModel:
        if not isinstance(self.model, StateSpaceModel):
            raise TypeError(f"model: found {type(self.model).__name__}, expected a latentgate model such as lg.HMM(3, lg.emissions.Poisson(20)).")
        if self.num_states is None:
            return self.model
        if not hasattr(self.model, "num_states"):
            raise ValueError(f"num_states: found {self.num_states}, expected None for {type(self.model).__name__}, which has no discrete states.")
        return dataclasses.replace(self.model, num_states=self.num_states)


class SessionSplit(BaseCrossValidator):
    """Cross-validation that never cuts a session: whole sessions are dealt in turn into folds, so that each fold spans the recording.

    The same folds as `lg.cross_validate` and `Sequences.folds`.

    Args:
        n_splits: folds, at least 2.
        session_column: column of X with the session of each row, by number or name; otherwise `groups` say so, or each sample of a list is a session.

    Example:
        >>> import numpy as np
        >>> from latentgate.adapters.sklearn import SessionSplit
        >>> X, groups = np.zeros((6, 1)), ["a", "a", "b", "b", "b", "c"]
        >>> [test.tolist() for _, test in SessionSplit(2).split(X, groups=groups)]
        [[0, 1, 5], [2, 3, 4]]
    """

    __metadata_request__split = {"groups": True}  # noqa: RUF012 - scikit-learn's protocol

    def __init__(self, n_splits: int = 5, *, session_column: int | str | None = None):
        self.n_splits = n_splits
        self.session_column = session_column

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(train, test) indices of rows, or of sessions for a list.

        Raises:
            ValueError: if nothing says what a session is, if there are fewer sessions than folds, or a session is in two pieces.
        """
        if groups is None and self.session_column is not None and _is_table(X):
            groups = _column(X, self.session_column)
        if groups is None:
            if _is_table(X):
                raise ValueError("groups: found None, expected the session of each row of X; or pass SessionSplit(..., session_column=...).")
            groups = np.arange(len(X))
        labels = np.asarray(groups)
        if _is_table(X):
            _lengths(labels, np.shape(X)[0])
        yield from splits.fold_indices(labels, self.n_splits)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Number of folds."""
        return self.n_splits

    def __repr__(self) -> str:
        return f"SessionSplit(n_splits={self.n_splits}, session_column={self.session_column!r})"


def _is_table(X: Any) -> bool:
    """Whether X is one array or data frame of steps rather than something with sessions apart."""
    return not isinstance(X, list | tuple | Sequences) and np.ndim(X) == 2


def _of_sessions(X: Any, inputs: str) -> Sequences:
    if isinstance(X, Sequences):
        return X
    if not isinstance(X, list | tuple | np.ndarray) or len(X) == 0:
        raise TypeError(
            f"X: found {type(X).__name__}, expected an array [time, feature], a list with one such array or one lg.Sequences a session, or lg.Sequences."
        )
    parts = list(X)
    if not any(isinstance(part, Sequences) for part in parts):
        return Sequences.from_arrays(parts)
    if not all(isinstance(part, Sequences) for part in parts):
        raise TypeError("X: found arrays beside lg.Sequences in one list, expected all of one kind.")
    names = {name for part in parts for name in part.inputs}
    if any(set(part.inputs) != names for part in parts):
        raise ValueError(f"X: found lg.Sequences with different inputs, expected {', '.join(sorted(names))} in all.")
    columns = {name: [row[:length] for part in parts for row, length in zip(part.inputs[name], part.lengths, strict=True)] for name in sorted(names)}
    timed = [part.times is not None for part in parts]
    if any(timed) and not all(timed):
        raise ValueError("X: found lg.Sequences with and without times, expected all of one kind.")
    times = [row[:length] for part in parts for row, length in zip(part.times, part.lengths, strict=True)] if all(timed) else None
    return Sequences.from_arrays([array for part in parts for array in part.to_list()], inputs=columns or None, times=times)


def _columns(X: Any) -> list:
    return list(X.columns) if hasattr(X, "columns") else list(range(np.shape(X)[1]))


def _position(columns: list, column: Any) -> int:
    if column in columns:
        return columns.index(column)
    if isinstance(column, int | np.integer) and -len(columns) <= column < len(columns):
        return int(column) % len(columns)
    raise ValueError(f"session_column, input_columns: found {column!r}, expected a column of X: {', '.join(map(repr, columns[:20]))}.")


def _column(X: Any, column: Any) -> np.ndarray:
    position = _position(_columns(X), column)
    return np.asarray(X.iloc[:, position] if hasattr(X, "iloc") else X[:, position])


def _lengths(labels: np.ndarray, num_rows: int) -> list[int]:
    """Steps of each session from one label a row."""
    if labels.shape != (num_rows,):
        raise ValueError(f"groups: found shape {labels.shape}, expected one label for each of the {num_rows} rows of X.")
    starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]]))
    names, counts = np.unique(labels[starts], return_counts=True)
    if (counts > 1).any():
        raise ValueError(
            f"groups: found session {names[counts > 1][0].item()!r} in two pieces, expected the steps of a session next to each other and in order; "
            "split with SessionSplit, which never cuts a session, and do not shuffle rows."
        )
    return np.diff(np.append(starts, num_rows)).tolist()


def _in_rows(values: np.ndarray, data: Sequences, X: Any) -> Any:
    """Padded values [sequence, time, ...] one session after the other for a table, one array a session otherwise."""
    rows = [row[:length] for row, length in zip(values, np.asarray(data.lengths), strict=True)]
    return np.concatenate(rows) if _is_table(X) else rows
