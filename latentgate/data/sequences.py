"""The container of observations: padded sequences with masks, inputs, times and annotations."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax
import jax.core
import numpy as np

from latentgate.data import _checks, _description, _kinds, _sessions, splits

_LEAVES = ("values", "observed", "lengths", "inputs", "times", "shared")
_ANNOTATIONS = ("names", "input_names", "labels", "events", "groups", "bin_width", "starts")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """Observed sequences (trials or sessions), independent of each other given the parameters.

    Build it with `from_arrays`, `from_concatenated`, `from_spikes`, `from_xarray`, `from_table` or `latentgate.load`; the constructor itself checks
    nothing. It is a JAX pytree: the leaves are `values`, `observed`, `lengths`, `inputs`, `times` and `shared`; `complete`, the names of the input sets and
    whether there are times are static. The annotations below are no part of it: a copy made by a JAX
    transformation has none, and two `Sequences` of equal shapes share one compiled program whatever their annotations.

    Attributes:
        values: float64 [sequence, time, feature]; 0 at missing entries and in the padding.
        observed: bool [sequence, time, feature]; False at missing entries and in the padding.
        lengths: int32 [sequence], numbers of real steps.
        inputs: {name: float64 [sequence, time, input]}; 0 in the padding; empty without inputs.
        times: float64 [sequence, time], observation times, or None; the padding repeats the last time.
        complete: True when no entry inside the lengths is missing (models then skip masks).
        names: Annotation: names of the features, or None.
        input_names: Annotation: {name of an input set: names of its columns}.
        labels: Annotation: {name: array [sequence]}, for instance "rewarded".
        events: Annotation: {name: list with one array of event times per sequence}, in s from its start.
        groups: Annotation: array [sequence] of session labels, or None; splits never cut a group.
        bin_width: Annotation: width of a time step in s, or None.
        starts: Annotation: float64 [sequence], when each sequence begins on the recording's own clock, in s, or None; step t of sequence i is then the
            half-open bin [starts[i] + t bin_width, starts[i] + (t + 1) bin_width).
        input_scales: Annotation: {name of a standardised input set: (centre [input], unit [input])}; inputs are (raw - centre) / unit.
        shared: {name: array} that a model found in all sequences together (distinct gaps, say); empty in data that users make.

    Example:
        >>> import numpy as np
        >>> from latentgate.data import Sequences
        >>> Sequences.from_arrays([np.zeros((3, 2)), np.ones((5, 2))])
        Sequences(2 sequences, 3–5 steps, 2 features; inputs: none; 0.0 % missing)
    """

    values: Any
    observed: Any
    lengths: Any
    inputs: dict[str, Any]
    times: Any
    complete: bool
    names: tuple[str, ...] | None = None
    input_names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    events: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    groups: np.ndarray | None = None
    bin_width: float | None = None
    starts: np.ndarray | None = None
    input_scales: dict[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    shared: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_arrays(
        cls,
        arrays: Any,
        inputs: Any = None,
        times: Any = None,
        names: Any = None,
        input_names: Any = None,
        labels: Mapping[str, Any] | None = None,
        events: Mapping[str, Any] | None = None,
        groups: Any = None,
        bin_width: float | None = None,
        starts: Any = None,
    ) -> Sequences:
        """Builds sequences from one array per sequence.

        Args:
            arrays: list of [time, feature] arrays of any lengths (a 1-d [time] array is one feature), or one
                [sequence, time, feature] array. NaN marks a missing entry.
            inputs: list of [time, input] arrays, or {name: such a list}; one unnamed set is called "inputs".
            times: list of [time] arrays, strictly increasing within a sequence (or one [sequence, time] array).
            names: names of the features.
            input_names: {name of an input set: names of its columns}; a plain list with a single input set.
            labels: {name: one number, boolean or string per sequence}.
            events: {name: one list of event times per sequence}, in s from the start of the sequence.
            groups: one session label per sequence.
            bin_width: width of a time step in s.
            starts: when each sequence begins on the recording's own clock, in s.

        Raises:
            TypeError: text, objects, dates or complex numbers where numbers are expected; what another constructor takes (it is named).
            ValueError: empty, infinite, all-missing or inconsistent arrays; NaN in inputs; times out of order.

        Example:
            >>> import numpy as np
            >>> data = Sequences.from_arrays([np.array([1.0, np.nan, 2.0])], inputs=[np.ones((3, 2))])
            >>> data.complete, data.num_inputs
            (False, {'inputs': 2})
        """
        _kinds.refuse_other_kinds(arrays)
        checked = _checks.check_observations(arrays, "arrays")
        count, lengths = len(checked), [len(array) for array in checked]
        input_lists = _checks.check_inputs(inputs, lengths)
        time_list = _checks.check_times(times, lengths)
        seen = [~np.isnan(array) for array in checked]
        return cls(
            values=_checks.pad([np.where(ok, array, 0.0) for ok, array in zip(seen, checked, strict=True)]),
            observed=_checks.pad(seen),
            lengths=np.array(lengths, np.int32),
            inputs={name: _checks.pad(sets) for name, sets in input_lists.items()},
            times=None if time_list is None else _checks.pad(time_list, repeat_last=True),
            complete=all(bool(ok.all()) for ok in seen),
            names=_checks.check_names(names, checked[0].shape[1], "names"),
            input_names=_checks.check_input_names(input_names, {name: sets[0].shape[1] for name, sets in input_lists.items()}),
            labels={name: _checks.check_labels(value, count, f"labels[{name!r}]") for name, value in _checks.check_mapping(labels, "labels").items()},
            events=_checks.check_events(events, count),
            groups=None if groups is None else _checks.check_labels(groups, count, "groups"),
            bin_width=_checks.check_bin_width(bin_width),
            starts=None if starts is None else _sessions.check_starts(starts, count),
        )

    @classmethod
    def from_concatenated(
        cls,
        array: Any,
        *,
        session_starts: Any = None,
        lengths: Any = None,
        inputs: Any = None,
        times: Any = None,
        names: Any = None,
        input_names: Any = None,
        labels: Mapping[str, Any] | None = None,
        events: Mapping[str, Any] | None = None,
        groups: Any = None,
        bin_width: float | None = None,
        starts: Any = None,
    ) -> Sequences:
        """Builds sequences from sessions laid one after the other in one array.

        Args:
            array: [total steps, feature], or [total steps] for one feature.
            session_starts: first step of each session: 0, then increasing. Give this or `lengths`.
            lengths: number of steps of each session; they sum to the length of `array`.
            inputs: [total steps, input], or {name: such an array}.
            times: [total steps], strictly increasing within a session.
            names, input_names, labels, events, groups, bin_width, starts: as in `from_arrays`, per session.

        Raises:
            TypeError, ValueError: as `from_arrays`, and when sessions and array do not fit.

        Example:
            >>> import numpy as np
            >>> Sequences.from_concatenated(np.arange(10.0), lengths=[4, 6]).lengths.tolist()
            [4, 6]
        """
        sessions, inputs, times = _sessions.cut(array, session_starts, lengths, inputs, times)
        return cls.from_arrays(sessions, inputs, times, names, input_names, labels, events, groups, bin_width, starts)

    @classmethod
    def from_spikes(
        cls,
        spikes: Any,
        bin_width: float,
        trials: Any = None,
        *,
        align: Any = None,
        window: Any = None,
        behaviour: Any = None,
        events: Any = None,
        labels: Mapping[str, Any] | None = None,
        groups: Any = None,
        names: Any = None,
    ) -> Sequences:
        """Counts spikes in bins of trials: see `latentgate.data.time_series.from_spikes`."""
        from latentgate.data.time_series import from_spikes

        return from_spikes(spikes, bin_width, trials, align=align, window=window, behaviour=behaviour, events=events, labels=labels, groups=groups, names=names)

    @classmethod
    def from_xarray(cls, array: Any, *, inputs: Any = None, labels: Mapping[str, Any] | None = None, groups: Any = None) -> Sequences:
        """Sequences of labelled arrays, whose dimensions are known by name: see `latentgate.data.labelled.from_xarray`."""
        from latentgate.data.labelled import from_xarray

        return from_xarray(array, inputs=inputs, labels=labels, groups=groups)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        sequence: str,
        values: Any,
        time: str | None = None,
        inputs: Any = None,
        labels: Any = None,
        groups: str | None = None,
        feature: str | None = None,
        bin_width: float | None = None,
    ) -> Sequences:
        """Sequences of a table with one row per step, or per step and feature: see `latentgate.data.tables.from_table`."""
        from latentgate.data.tables import from_table

        return from_table(table, sequence=sequence, values=values, time=time, inputs=inputs, labels=labels, groups=groups, feature=feature, bin_width=bin_width)

    @property
    def num_sequences(self) -> int:
        """Number of sequences."""
        return self.values.shape[0]

    @property
    def max_length(self) -> int:
        """Number of steps of the padded arrays."""
        return self.values.shape[1]

    @property
    def num_features(self) -> int:
        """Number of features."""
        return self.values.shape[2]

    @property
    def num_steps(self) -> int:
        """Number of real steps, summed over the sequences (a traced scalar inside jit)."""
        total: Any = self.lengths.sum()
        return cast(int, total) if isinstance(total, jax.core.Tracer) else int(total)

    @property
    def num_inputs(self) -> dict[str, int]:
        """{name of an input set: number of its columns}."""
        return {name: value.shape[2] for name, value in self.inputs.items()}

    @property
    def mask(self) -> Any:
        """Boolean [sequence, time]: True at real steps, False in the padding."""
        return self.lengths[:, None] > np.arange(self.max_length)

    def select(self, which: Any) -> Sequences:
        """The chosen sequences, in the order asked for, padded to the longest of them, with their annotations.

        Args:
            which: indices (repeats allowed), a boolean array [sequence], a slice or one index.

        Raises:
            TypeError, ValueError, IndexError: not indices, nothing chosen, or an index out of range.
        """
        from latentgate.data._changes import select

        return select(self, which)

    def annotations(self) -> dict[str, Any]:
        """What is known of the sequences beside their numbers, as keywords of `from_arrays` (which knows no `input_scales`)."""
        return {name: getattr(self, name) for name in _ANNOTATIONS}

    def to_list(self) -> list[np.ndarray]:
        """One [time, feature] array per sequence, NaN at missing entries."""
        filled = np.where(self.observed, self.values, np.nan)
        return [row[:length] for row, length in zip(filled, np.asarray(self.lengths), strict=True)]

    def split(self, fraction: float, seed: int) -> tuple[Sequences, Sequences]:
        """Draws a training and a test part; see `latentgate.data.splits.split_indices`.

        Args:
            fraction: share of the groups (of the sequences without groups) that goes to the training part.
            seed: seed of the draw; the same seed gives the same parts.
        """
        train, test = splits.split_indices(self._group_list(), fraction, seed)
        return self.select(train), self.select(test)

    def folds(self, num_folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """(train indices, test indices) of each fold of a blocked cross-validation; no group is cut.

        Groups (sequences without groups) are dealt in turn in their order of appearance: each fold spans the recording.
        """
        return splits.fold_indices(self._group_list(), num_folds)

    def _group_list(self) -> np.ndarray:
        return np.arange(self.num_sequences) if self.groups is None else self.groups

    def with_inputs(self, inputs: Any, input_names: Any = None) -> Sequences:
        """The same sequences with these input sets in place of the present ones (None: without inputs).

        Args:
            inputs: as in `from_arrays`; padded [sequence, time, input] arrays that fit `values` are cut to the lengths.
            input_names: as in `from_arrays`.
        """
        from latentgate.data._changes import with_inputs

        return with_inputs(self, inputs, input_names)

    def with_values(self, values: Any, names: Any = None) -> Sequences:
        """The same trials, with their inputs, times and annotations, and other observations.

        Args:
            values: list of [time, feature] arrays of the same lengths, or a padded [sequence, time, feature] array; NaN marks a missing entry, and a
                sequence may be missing altogether.
            names: of the features; by default the old ones where there are as many.

        Raises:
            TypeError, ValueError: as `from_arrays`; another number of sequences or steps.

        Example:
            >>> import numpy as np
            >>> data = Sequences.from_arrays([np.ones((3, 2))], labels={"rewarded": [True]})
            >>> data.with_values([np.zeros((3, 5))]).num_features
            5
        """
        from latentgate.data._changes import with_values

        return with_values(self, values, names)

    def rebinned(self, factor: int) -> Sequences:
        """The same sequences in bins `factor` times as wide: counts are summed (a missing bin makes the wide one missing), inputs averaged.

        An incomplete last bin is left out. Times are those of the first bin of each group; they must be regular.

        Raises:
            ValueError: a factor that is no positive integer or longer than a sequence; irregular times.

        Example:
            >>> import numpy as np
            >>> wide = Sequences.from_arrays([np.arange(5.0)], bin_width=0.1).rebinned(2)
            >>> wide.values.ravel().tolist(), wide.bin_width
            ([1.0, 5.0], 0.2)
        """
        from latentgate.data._changes import rebinned

        return rebinned(self, factor)

    def standardized(self, names: Any = None, like: Sequences | None = None) -> Sequences:
        """The same sequences with inputs minus their mean over the real steps, divided by their standard deviation; what that was is kept in `input_scales`.

        A column that never changes (an intercept) is left alone. A fit keeps the scales, refuses data in others, and reports its parameters for raw inputs:
        `fit.in_original_units()`.

        Args:
            names: name or names of input sets; None for all.
            like: training data that were standardised: their scales are used.

        Raises:
            ValueError: no inputs, an unknown set, a set that is standardised already, or `like` that is not standardised or has other inputs.

        Example:
            >>> import numpy as np
            >>> train = Sequences.from_arrays([np.zeros(4)], inputs=[np.array([1.0, 3.0, 1.0, 3.0])]).standardized()
            >>> train.inputs["inputs"].ravel().tolist(), train.input_scales["inputs"][1].tolist()
            ([-1.0, 1.0, -1.0, 1.0], [1.0])
        """
        from latentgate.data.scaling import standardized

        return standardized(self, names, like)

    def with_times(self, times: Any) -> Sequences:
        """The same sequences with rows at more times, unobserved where there were none: see `latentgate.data.times.with_times`."""
        from latentgate.data.times import with_times

        return with_times(self, times)[0]

    def cut_at(self, cuts: Any, name: str = "period", origin: str = "start") -> Sequences:
        """The same sequences with rows at cut points and an input set that says which period each row begins: see `latentgate.data.times.cut_at`."""
        from latentgate.data.times import cut_at

        return cut_at(self, cuts, name, origin)

    def to_xarray(self) -> Any:
        """An xarray Dataset of everything: see `latentgate.data.labelled.to_xarray`; `from_xarray` reads it back."""
        from latentgate.data.labelled import to_xarray

        return to_xarray(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes everything, annotations included, to a .npz or .nc file (by the suffix), never with pickle.

        Returns:
            The path written. `latentgate.load(path)` reads it back.
        """
        from latentgate.data.storage import save

        return save(self, path)

    def __repr__(self) -> str:
        return _description.describe(self)


def _flatten_with_keys(data: Sequences) -> tuple[list[tuple[Any, Any]], bool]:
    return [(jax.tree_util.GetAttrKey(name), getattr(data, name)) for name in _LEAVES], data.complete


def _flatten(data: Sequences) -> tuple[list[Any], bool]:
    return [getattr(data, name) for name in _LEAVES], data.complete


def _unflatten(complete: bool, leaves: Any) -> Sequences:
    return Sequences(**dict(zip(_LEAVES, leaves, strict=True)), complete=complete)


def take(data: Sequences, chosen: Any) -> Sequences:
    """Some sequences by their indices [n], which may be traced; annotations are left behind."""
    own = dataclasses.replace(data, shared={})
    return dataclasses.replace(jax.tree.map(lambda leaf: leaf[chosen], own), shared=data.shared)


jax.tree_util.register_pytree_with_keys(Sequences, _flatten_with_keys, _unflatten, _flatten)
