"""The pictures of the demonstration's report, as PNG bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate import plotting
from latentgate.demonstration.analysis import FREE, ONE_HOT, Demonstration
from latentgate.report.page import new_figure, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DETAILED_TRIALS = 4


def draw(demonstration: Demonstration) -> dict[str, bytes]:
    """{name: PNG} of every picture, in the order of the report."""
    pictures = {
        "states": _states(demonstration),
        "state_probabilities": _probabilities(demonstration),
        "coupling": _coupling(demonstration),
        "transitions": _transitions(demonstration),
        "bits_per_spike": _scores(demonstration),
        "em": _traces(demonstration),
    }
    if demonstration.condition is not None:
        pictures["occupancy"] = _occupancy(demonstration)
    return {name: png(figure) for name, figure in pictures.items()}


def _states(demonstration: Demonstration) -> Figure:
    count = demonstration.data.num_sequences
    figure = new_figure(9.5, float(np.clip(1.4 + 0.1 * count, 2.6, 9.0)))
    plotting.states_over_time(
        demonstration.path, demonstration.data, by=demonstration.condition, num_states=demonstration.settings.num_states, ax=figure.subplots()
    )
    return figure


def _probabilities(demonstration: Demonstration) -> Figure:
    figure = new_figure(9.5, 3.6)
    shown = detailed_trials(demonstration)
    axes = figure.subplots()
    plotting.states_over_time(demonstration.smoothed, demonstration.data, sequences=list(shown), by=demonstration.condition, ax=axes)
    # Stays may last a few bins only, which a whole long trial would blur.
    axes.set_xlim(0, demonstration.common_steps * (demonstration.data.bin_width or 1.0))
    return figure


def detailed_trials(demonstration: Demonstration) -> np.ndarray:
    """The first few held-out trials, of both conditions where there are two."""
    test = demonstration.test
    if demonstration.condition is None:
        return test[:_DETAILED_TRIALS]
    labels = demonstration.data.labels[demonstration.condition][test]
    half = _DETAILED_TRIALS // 2
    return np.concatenate([test[labels][:half], test[~labels][:half]])


def _coupling(demonstration: Demonstration) -> Figure:
    num_states = demonstration.settings.num_states
    figure = new_figure(2.5 * num_states + 4.4, 3.0)
    # The colour bar takes its room from the panels of the states only.
    halves: Any = figure.subfigures(1, 2, width_ratios=(2.5 * num_states + 0.9, 3.5))
    states, types = halves
    plotting.coupling(demonstration.weights, ax=list(states.subplots(1, num_states, squeeze=False)[0]))
    plotting.connection_types(demonstration.fits[ONE_HOT].params["emission.type_prior"], ax=types.subplots())
    return figure


def _transitions(demonstration: Demonstration) -> Figure:
    size = 0.85 * demonstration.settings.num_states
    figure = new_figure(2.0 + size, 0.9 + size)
    params = demonstration.fits[ONE_HOT].params
    plotting.transition_matrix(params["transition.probs"], bin_width=demonstration.data.bin_width, ax=figure.subplots())
    return figure


def _scores(demonstration: Demonstration) -> Figure:
    scores = demonstration.scores
    figure = new_figure(5.6, 3.6)
    totals = {model: scores.bits_per_spike(model) for model in scores.log_likelihood}
    by_trial = {model: scores.bits_per_spike_by_sequence(model) for model in scores.log_likelihood}
    plotting.bits_per_spike(totals, by_trial, ax=figure.subplots())
    return figure


def _traces(demonstration: Demonstration) -> Figure:
    figure = new_figure(9.0, 3.4)
    for axes, name in zip(figure.subplots(1, 2), (FREE, ONE_HOT), strict=True):
        plotting.em_trace(demonstration.fits[name], ax=axes)
        axes.set_title(name)
    return figure


def _occupancy(demonstration: Demonstration) -> Figure:
    figure = new_figure(1.8 + 1.4 * demonstration.settings.num_states, 3.6)
    name = str(demonstration.condition)
    labels = demonstration.data.labels[name]
    plotting.occupancy(demonstration.occupied, labels, name=name, other_name=f"not {name}", ax=figure.subplots())
    return figure
