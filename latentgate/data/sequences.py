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

from latentgate.data import _checks, _sessions, splits

_LEAVES = ("values", "observed", "lengths", "inputs", "times", "shared")


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sequences:
    """Observed sequences (trials or sessions), independent of each other given the parameters.

    Build it with `from_arrays`, `from_concatenated` or `latentgate.load`; the constructor itself checks nothing. It is
    a JAX pytree: the leaves are `values`, `observed`, `lengths`, `inputs`, `times` and `shared`; `complete`, the names of
    the input sets and whether there are times are static. The annotations below are no part of it: a copy made by a JAX
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

        Raises:
            TypeError: text, objects, dates or complex numbers where numbers are expected.
            ValueError: empty, infinite, all-missing or inconsistent arrays; NaN in inputs; times out of order.

        Example:
            >>> import numpy as np
            >>> data = Sequences.from_arrays([np.array([1.0, np.nan, 2.0])], inputs=[np.ones((3, 2))])
            >>> data.complete, data.num_inputs
            (False, {'inputs': 2})
        """
        return cls._build(
            _checks.check_observations(arrays, "arrays"),
            inputs,
            times,
            names,
            input_names,
            labels,
            events,
            groups,
            bin_width,
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
    ) -> Sequences:
        """Builds sequences from sessions laid one after the other in one array.

        Args:
            array: [total steps, feature], or [total steps] for one feature.
            session_starts: first step of each session: 0, then increasing. Give this or `lengths`.
            lengths: number of steps of each session; they sum to the length of `array`.
            inputs: [total steps, input], or {name: such an array}.
            times: [total steps], strictly increasing within a session.
            names, input_names, labels, events, groups, bin_width: as in `from_arrays`, per session.

        Raises:
            TypeError, ValueError: as `from_arrays`, and when sessions and array do not fit.

        Example:
            >>> import numpy as np
            >>> Sequences.from_concatenated(np.arange(10.0), lengths=[4, 6]).lengths.tolist()
            [4, 6]
        """
        sessions, inputs, times = _sessions.cut(array, session_starts, lengths, inputs, times)
        return cls._build(sessions, inputs, times, names, input_names, labels, events, groups, bin_width)

    @classmethod
    def _build(
        cls,
        arrays: list[np.ndarray],
        inputs: Any,
        times: Any,
        names: Any,
        input_names: Any,
        labels: Any,
        events: Any,
        groups: Any,
        bin_width: Any,
    ) -> Sequences:
        lengths = [len(array) for array in arrays]
        input_lists = _checks.check_inputs(inputs, lengths)
        time_list = _checks.check_times(times, lengths)
        num_inputs = {name: sets[0].shape[1] for name, sets in input_lists.items()}
        seen = [~np.isnan(array) for array in arrays]
        return cls(
            values=_checks.pad([np.where(ok, array, 0.0) for ok, array in zip(seen, arrays, strict=True)]),
            observed=_checks.pad(seen),
            lengths=np.array(lengths, np.int32),
            inputs={name: _checks.pad(sets) for name, sets in input_lists.items()},
            times=None if time_list is None else _checks.pad(time_list, repeat_last=True),
            complete=all(bool(ok.all()) for ok in seen),
            names=_checks.check_names(names, arrays[0].shape[1], "names"),
            input_names=_checks.check_input_names(input_names, num_inputs),
            labels={name: _checks.check_labels(value, len(arrays), f"labels[{name!r}]") for name, value in _checks.check_mapping(labels, "labels").items()},
            events=_checks.check_events(events, len(arrays)),
            groups=None if groups is None else _checks.check_labels(groups, len(arrays), "groups"),
            bin_width=_checks.check_bin_width(bin_width),
        )

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
        chosen = splits.as_indices(which, self.num_sequences)
        lengths = np.asarray(self.lengths)[chosen]
        longest = int(lengths.max())
        observed = np.asarray(self.observed)[chosen, :longest]
        real = lengths[:, None] > np.arange(longest)
        return Sequences(
            values=np.asarray(self.values)[chosen, :longest],
            observed=observed,
            lengths=lengths,
            inputs={name: np.asarray(value)[chosen, :longest] for name, value in self.inputs.items()},
            times=None if self.times is None else np.asarray(self.times)[chosen, :longest],
            complete=bool(observed[real].all()),
            names=self.names,
            input_names=dict(self.input_names),
            labels={name: value[chosen] for name, value in self.labels.items()},
            events={name: [value[index] for index in chosen] for name, value in self.events.items()},
            groups=None if self.groups is None else self.groups[chosen],
            bin_width=self.bin_width,
        )

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
        lengths = [int(length) for length in self.lengths]

        def cut(value: Any) -> Any:
            if getattr(value, "ndim", None) == 3 and tuple(value.shape[:2]) == tuple(self.values.shape[:2]):
                return [row[:length] for row, length in zip(np.asarray(value), lengths, strict=True)]
            return value

        named = {name: cut(value) for name, value in inputs.items()} if isinstance(inputs, Mapping) else cut(inputs)
        lists = _checks.check_inputs(named, lengths)
        padded = {name: _checks.pad(sets) for name, sets in lists.items()}
        names = _checks.check_input_names(input_names, {name: value.shape[2] for name, value in padded.items()})
        # What a model found in the old inputs does not hold for the new.
        return dataclasses.replace(self, inputs=padded, input_names=names, shared={})

    def with_times(self, times: Any) -> Sequences:
        """The same sequences with rows at more times, unobserved where there were none: see `latentgate.data.times.with_times`, which also says where they are.

        Args:
            times: [request], the same for all sequences, or a list with one such array per sequence.

        Example:
            >>> import numpy as np
            >>> data = Sequences.from_arrays([np.array([0.0, 1.0])], times=[[0.0, 2.0]])
            >>> data.with_times([0.5, 1.5]).times[0].tolist()
            [0.0, 0.5, 1.5, 2.0]
        """
        from latentgate.data.times import with_times

        return with_times(self, times)[0]

    def cut_at(self, cuts: Any, name: str = "period", origin: str = "start") -> Sequences:
        """The same sequences with rows at cut points and an input set that says which period each row begins: see `latentgate.data.times.cut_at`."""
        from latentgate.data.times import cut_at

        return cut_at(self, cuts, name, origin)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes everything, annotations included, to a .npz or .nc file (by the suffix), never with pickle.

        Returns:
            The path written. `latentgate.load(path)` reads it back.
        """
        from latentgate.data.storage import save

        return save(self, path)

    def __repr__(self) -> str:
        leaves = (self.values, self.observed, self.lengths)
        if any(isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, (np.ndarray, jax.Array)) for leaf in leaves):
            return f"Sequences(values={self.values!r}, complete={self.complete})"
        lengths = np.asarray(self.lengths)
        shortest, longest = int(lengths.min()), int(lengths.max())
        steps = str(longest) if shortest == longest else f"{shortest}–{longest}"
        inputs = ", ".join(f"{name} ({width})" for name, width in self.num_inputs.items()) or "none"
        missing = 100 * (1 - np.asarray(self.observed).sum() / (lengths.sum() * self.num_features))
        counted = [
            f"{self.num_sequences} sequence{'s' * (self.num_sequences != 1)}",
            f"{steps} step{'s' * (steps != '1')}",
            f"{self.num_features} feature{'s' * (self.num_features != 1)}",
        ]
        irregular = "" if self.times is None else "; irregular times"
        return f"Sequences({', '.join(counted)}; inputs: {inputs}{irregular}; {missing:.1f} % missing)"


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
