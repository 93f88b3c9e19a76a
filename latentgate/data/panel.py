"""Panel data: a table with one row per subject and visit becomes `Sequences` for a Markov jump process."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from latentgate.data._tables import Table, column_sets, fill_covariates, names_of, order_of
from latentgate.data.sequences import Sequences

STATE, ARRIVAL = "state", "arrival"
SNAPSHOT, EXACT_ENTRY, OBSERVED_CONTINUOUSLY = 0, 1, 2
_MISSING_COVARIATES = ("drop", "carry", "error")


def panel(
    table: Any,
    *,
    subject: str,
    time: str,
    state: str | None = None,
    states: Any = None,
    outcomes: Any = (),
    covariates: Any = (),
    exact_entry: Any = (),
    exact_transitions: bool | str = False,
    censored: Mapping[Any, Any] | None = None,
    arrival: str | None = None,
    missing_covariates: str = "drop",
) -> Sequences:
    """Makes sequences, one per subject, of a table with one row per subject and time of observation.

    The feature "state" says what is known of the state: 0, ..., K - 1 in the order of `states`, NaN where nothing is, or K + n for the set of states
    that the n-th code of `censored` stands for (`censored_sets` gives these to an emission). Further features are the outcomes. The input set "arrival"
    says how a row came to be seen: 0, a snapshot: the process was looked at, at an arbitrary moment; 1, an exact entry: the state seen was entered at
    this very time, by a path that was not observed since the row before (a time of death); 2, the process was observed continuously since the row before
    (exact times of transitions). The set is there if `exact_entry`, `exact_transitions` or `arrival` is given; without it all rows are snapshots. The
    first row of a subject has none before it, so it is a snapshot whatever the table says. Covariates of a row hold from that row until the next.

    Subjects come in the order of their first rows, and their rows in the order of the table, which need not be adjacent. A subject with a single row is
    kept: it says nothing of the rates, but it does of the initial law and of the emissions.

    Args:
        table: pandas DataFrame, mapping from names to columns, or path of a csv file.
        subject: column of the subjects.
        time: column of the times, numbers, increasing within a subject; the generator's unit of time is theirs.
        state: column of the states' codes; None where states are never seen.
        states: the table's codes of the states in order; by default those that occur (but for `censored`), sorted.
        outcomes: columns of outcomes, numbers, for instance of a Gaussian emission; or {column: None, or its codes in order, which become 0, 1, ...},
            the latter for labels read with error.
        covariates: columns of the covariates, the input set "inputs"; or {name of an input set: its columns}.
        exact_entry: codes of the states whose rows are exact times of entry, for instance death.
        exact_transitions: True where all subjects were observed continuously, or the column that says in which rows (True or 1) a subject was so since
            the row before. In a state of `exact_entry` too such a row counts as observed continuously: that says more.
        censored: {code in the table: codes of the states it stands for}.
        arrival: column of the arrivals 0, 1, 2 themselves, in place of `exact_entry` and `exact_transitions`.
        missing_covariates: what becomes of rows with a missing covariate. "drop": they are left out, except a subject's last, whose missing covariates
            are carried from the row before (they are never used, and its state is worth keeping). "carry": each covariate is carried from the row
            before, and rows before its first known value are left out. "error": refused. A subject of whom no row is left with covariates, or with
            anything observed, is left out. A row observed continuously since a row that is left out is so no longer: it becomes an exact entry if
            the two states are known and differ, else a snapshot.

    Returns:
        [subject, time, feature] with `times`, the label and the groups "subject", and the names of features and covariates.

    Raises:
        TypeError: entries that are no numbers where numbers are expected.
        ValueError: a missing column; times missing, out of order or equal; a state that is neither in `states` nor in `censored`; an exact entry into a
            state that is not known; options that do not fit together; a subject of whom nothing is observed. Subject and row are named.

    Source: the observation schemes, and the rows with missing covariates, are those of the R package msm (Jackson, J. Stat. Softw. 38(8), 2011).

    Example:
        >>> from latentgate.data.panel import panel
        >>> table = {"who": ["a", "a", "a", "b", "b"], "year": [0, 1.5, 2, 0, 3], "stage": [1, 2, 9, 1, 1], "age": [50, 51, 52, 70, 73]}
        >>> data = panel(table, subject="who", time="year", state="stage", states=[1, 2, 9], exact_entry=[9], covariates=["age"])
        >>> data.to_list()[0][:, 0].tolist(), data.inputs["arrival"][0, :, 0].tolist()
        ([0.0, 1.0, 2.0], [0.0, 0.0, 1.0])
    """
    if missing_covariates not in _MISSING_COVARIATES:
        raise ValueError(f"`missing_covariates` is {missing_covariates!r}; expected one of {', '.join(map(repr, _MISSING_COVARIATES))}.")
    exact_entry = _codes_of(exact_entry)
    outcome_codes = dict(outcomes) if isinstance(outcomes, Mapping) else dict.fromkeys(names_of(outcomes, "outcomes"))
    sets = _covariate_sets(covariates)
    _check_options(state, states, outcome_codes, exact_entry, exact_transitions, censored, arrival)
    columns: dict[str, tuple[str, ...]] = {"subject": (subject,), "time": (time,), "outcomes": names_of(outcome_codes, "outcomes")}
    columns["covariates"] = tuple(column for names in sets.values() for column in names)
    named = {"state": state, "arrival": arrival, "exact_transitions": exact_transitions}
    columns |= {argument: (column,) for argument, column in named.items() if isinstance(column, str)}
    rows = Table(table, columns, subject)
    times = _times(rows, time)
    features, kinds, names, num_states = [], np.zeros(len(times)), [], 0
    if state is not None:
        codes, num_states = _state_codes(rows, state, states, censored)
        features.append(rows.codes(state, codes, _expected_states(codes, num_states)))
        names.append(STATE)
        kinds = _arrivals(rows, features[0], codes, num_states, exact_entry, exact_transitions, arrival)
    for column, listed in outcome_codes.items():
        order = None if listed is None else order_of(listed, f"outcomes[{column!r}]")
        features.append(rows.numbers(column) if order is None else rows.codes(column, order, f"one of {_listed(order)}, as `outcomes` says"))
        names.append(column)
    inputs = {name: np.stack([rows.numbers(column) for column in chosen], axis=1) for name, chosen in sets.items()}
    has_arrival = bool(exact_entry or exact_transitions or arrival is not None)
    return _assemble(rows, times, np.stack(features, axis=1), names, inputs, sets, kinds if has_arrival else None, num_states, missing_covariates)


def censored_sets(states: Any, censored: Mapping[Any, Any]) -> dict[int, tuple[int, ...]]:
    """The sets of states behind the codes of `panel`, as an emission of known states takes them.

    Args:
        states: the table's codes of the states, as given to `panel`.
        censored: {code in the table: codes of the states it stands for}, as given to `panel`.

    Returns:
        {K + n: states, numbered from 0}, for the n-th code of `censored`.

    Raises:
        ValueError: a set that is empty or holds what is no state, or a code that is a state too.

    Example:
        >>> from latentgate.data.panel import censored_sets
        >>> censored_sets(["well", "ill", "dead"], {"alive": ("well", "ill")})
        {3: (0, 1)}
    """
    positions = order_of(states, "states")
    sets = {}
    for index, (code, members) in enumerate(censored.items()):
        listed = list(order_of(members, f"censored[{code!r}]"))
        if code in positions:
            raise ValueError(f"`censored` has the code {code!r}, which is one of the states; expected another. Leave it out of `states`, or recode it.")
        strange = [member for member in listed if member not in positions]
        if strange:
            raise ValueError(f"`censored[{code!r}]` holds {strange[0]!r}, which is no state; the states are {_listed(positions)}. Name them all in `states`.")
        sets[len(positions) + index] = tuple(positions[member] for member in listed)
    return sets


def _codes_of(exact_entry: Any) -> list[Any]:
    if isinstance(exact_entry, (str, bytes)) or not hasattr(exact_entry, "__iter__"):
        raise TypeError(f"`exact_entry` is {exact_entry!r}; expected a list of codes of states.")
    return exact_entry.tolist() if isinstance(exact_entry, np.ndarray) else list(exact_entry)


def _check_options(
    state: str | None, states: Any, outcomes: Mapping[str, Any], exact_entry: list[Any], exact_transitions: bool | str, censored: Any, arrival: str | None
) -> None:
    if state is None and not outcomes:
        raise ValueError("neither `state` nor `outcomes` is given; expected a column of states, columns of outcomes, or both.")
    if state is None:
        given = {"states": states is not None, "exact_entry": bool(exact_entry), "censored": bool(censored), "arrival": arrival is not None}
        for argument, present in (given | {"exact_transitions": exact_transitions is not False}).items():
            if present:
                raise ValueError(f"`{argument}` is given without `state`; expected the column of what is known of the states (NaN where nothing is).")
    if STATE in outcomes and state is not None:
        raise ValueError("`outcomes` names the column 'state', but the feature 'state' is what is known of the state; rename the outcome's column.")
    if not isinstance(exact_transitions, (bool, str)):
        raise TypeError(f"`exact_transitions` is {exact_transitions!r}; expected True, False or the name of a column.")
    if arrival is not None and (exact_entry or exact_transitions):
        raise ValueError("`arrival` is given together with `exact_entry` or `exact_transitions`; expected either the column of arrivals or these.")


def _covariate_sets(covariates: Any) -> dict[str, tuple[str, ...]]:
    """{name of an input set: its columns}."""
    sets = column_sets(covariates, "covariates")
    if ARRIVAL in sets:
        raise ValueError("`covariates` has an input set 'arrival', which is the name of how rows came to be seen; choose another, or pass `arrival`.")
    return sets


def _times(rows: Table, column: str) -> np.ndarray:
    """[row] times, increasing within each subject."""
    times = rows.times(column)
    before: dict[Any, int] = {}
    for row, who in enumerate(rows.subjects):
        last = before.get(who, row)
        if times[row] < times[last]:
            raise ValueError(
                f"the times of subject {who!r} are out of order: {times[row]:g} in row {row} follows {times[last]:g} in row {last} (counted from 0). "
                "Sort the table by subject and time."
            )
        before[who] = row
    return times


def _check_distinct(rows: Table, times: np.ndarray, observations: np.ndarray, names: list[str], index: np.ndarray) -> None:
    for last, row in itertools.pairwise(index):
        if times[row] == times[last]:
            differ = [
                name for name, old, new in zip(names, observations[last], observations[row], strict=True) if not (old == new or np.isnan([old, new]).all())
            ]
            found = f"with different entries of {', '.join(map(repr, differ))}" if differ else "with the same entries"
            remedy = "Decide which of them holds, or move one in time" if differ else "Keep one of them"
            raise ValueError(
                f"subject {rows.subjects[row]!r} has two rows at the time {times[row]:g}, {last} and {row} (counted from 0), {found}; "
                f"expected different times. {remedy}."
            )


def _state_codes(rows: Table, column: str, states: Any, censored: Mapping[Any, Any] | None) -> tuple[dict[Any, int], int]:
    """{code in the table: number} of states and sets of states, and the number of states."""
    sets = dict(censored or {})
    if states is None:
        found = {entry for entry in rows.values(column) if entry is not None} - sets.keys()
        try:
            states = sorted(found)
        except TypeError as error:
            raise ValueError(f"the states in the column {column!r} cannot be sorted ({error}); name them in order in `states`.") from error
        if not states:
            raise ValueError(f"no state is seen in the column {column!r}; expected some. Name the states in `states`.")
    positions = order_of(states, "states")
    return positions | dict(zip(sets, censored_sets(list(positions), sets), strict=True)), len(positions)


def _arrivals(
    rows: Table,
    state: np.ndarray,
    codes: Mapping[Any, int],
    num_states: int,
    exact_entry: list[Any],
    exact_transitions: bool | str,
    arrival: str | None,
) -> np.ndarray:
    """[row] how each row came to be seen."""
    if arrival is not None:
        kinds = rows.codes(arrival, {0: 0, 1: 1, 2: 2}, "0 (snapshot), 1 (exact entry) or 2 (observed continuously); msm's obstype 1, 2, 3 is 0, 2, 1 here")
        what = f"the column {arrival!r}"
    else:
        for code in exact_entry:
            if codes.get(code, num_states) >= num_states:
                raise ValueError(f"`exact_entry` holds {code!r}; expected states, which are {_listed(list(codes)[:num_states])}.")
        kinds = np.where(np.isin(state, [codes[code] for code in exact_entry]), EXACT_ENTRY, SNAPSHOT).astype(float)
        what = f"the column {exact_transitions!r}"
        if isinstance(exact_transitions, str):
            continuous = rows.codes(exact_transitions, {0: 0, 1: 1}, "True or False")
            kinds = np.where(np.isnan(continuous), np.nan, np.where(continuous == 1, OBSERVED_CONTINUOUSLY, kinds))
        elif exact_transitions:
            kinds = np.full(len(state), float(OBSERVED_CONTINUOUSLY))
    missing = np.flatnonzero(np.isnan(kinds))
    if missing.size:
        raise ValueError(f"{what} is missing at {rows.at(missing[0])}; expected an entry in every row.")
    unknown = np.flatnonzero((kinds == EXACT_ENTRY) & ~(state < num_states))
    if unknown.size:
        raise ValueError(f"{what} says that a state was entered exactly at {rows.at(unknown[0])}, but the state there is not known; expected one state.")
    return kinds


def _expected_states(codes: Mapping[Any, int], num_states: int) -> str:
    listed = list(codes)
    sets = f", or a code of `censored`: {_listed(listed[num_states:])}" if len(listed) > num_states else "; a code for several states belongs into `censored`"
    return f"a state, one of {_listed(listed[:num_states])}{sets}"


def _listed(codes: Any) -> str:
    return ", ".join(map(repr, codes))


def _assemble(
    rows: Table,
    times: np.ndarray,
    observations: np.ndarray,
    names: list[str],
    inputs: Mapping[str, np.ndarray],
    input_names: Mapping[str, tuple[str, ...]],
    kinds: np.ndarray | None,
    num_states: int,
    missing_covariates: str,
) -> Sequences:
    covariates = np.concatenate([np.zeros((len(times), 0)), *inputs.values()], axis=1)
    missing = np.argwhere(np.isnan(covariates))
    if missing.size and missing_covariates == "error":
        column = [column for chosen in input_names.values() for column in chosen][missing[0, 1]]
        raise ValueError(f"the covariate {column!r} is missing at {rows.at(missing[0, 0])}; expected one in every row, as `missing_covariates` is 'error'.")
    kept: list[np.ndarray] = []
    arrivals: list[np.ndarray] = []
    for who, index in rows.rows_of().items():
        _check_distinct(rows, times, observations, names, index)
        if np.isnan(observations[index]).all():
            raise ValueError(f"nothing is observed of subject {who!r} ({len(index)} rows, from row {index[0]}); expected some entry. Leave the subject out.")
        chosen, filled = fill_covariates(covariates[index], missing_covariates)
        covariates[index[chosen]] = filled
        if np.isnan(observations[index[chosen]]).all():
            continue
        kept.append(index[chosen])
        if kinds is not None:
            arrivals.append(_arrivals_of_kept(kinds[index], observations[index, 0], chosen, num_states)[:, None])
    if not kept:
        raise ValueError("no subject is left: every row has a missing covariate. Pass `missing_covariates`='carry', or leave out the covariate.")
    edges = np.cumsum([0] + [value.shape[1] for value in inputs.values()])
    input_lists = {name: [covariates[index, start:end] for index in kept] for name, start, end in zip(inputs, edges[:-1], edges[1:], strict=True)}
    if kinds is not None:
        input_lists[ARRIVAL] = arrivals
    subjects = rows.subject_labels()[[index[0] for index in kept]]
    return Sequences.from_arrays(
        [observations[index] for index in kept],
        inputs=input_lists,
        times=[times[index] for index in kept],
        names=names,
        input_names=dict(input_names),
        labels={"subject": subjects},
        groups=subjects,
    )


def _arrivals_of_kept(kinds: np.ndarray, state: np.ndarray, kept: np.ndarray, num_states: int) -> np.ndarray:
    """[kept row] arrivals of one subject when only some of its rows stay; see `missing_covariates` of `panel`."""
    arrivals = kinds[kept].copy()
    arrivals[0] = SNAPSHOT
    for position, row in enumerate(kept[1:], start=1):
        if arrivals[position] == OBSERVED_CONTINUOUSLY and kept[position - 1] != row - 1:
            # NaN is below no number of states.
            both_known = state[row - 1] < num_states and state[row] < num_states
            arrivals[position] = EXACT_ENTRY if both_known and state[row - 1] != state[row] else SNAPSHOT
    return arrivals
