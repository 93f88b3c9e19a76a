"""The pictures that a fit calls for: what it has decides which are drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate import plotting
from latentgate.comparison import occupancy
from latentgate.inference import Fit
from latentgate.models import MarkovJumpProcess, MixtureOfExperts
from latentgate.report.page import new_figure, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from latentgate.data import Sequences

# Rows that can still be told apart on a page.
_MOST_SEQUENCES = 60
_DETAILED = 4


def pictures_of(fit: Fit, data: Sequences | None) -> dict[str, list[tuple[bytes, str]]]:
    """{heading: [(PNG, caption)]}, in the order of the page."""
    found: dict[str, list[tuple[Figure, str]]] = {
        "States" if _has_states(fit) else "Latents": [] if data is None else _hidden(fit, data),
        "What moves the states" if _has_states(fit) else "Dynamics": _moves(fit, data),
        "Connections": _connections(fit),
        "The way there": _way(fit),
    }
    return {heading: [(png(figure), caption) for figure, caption in group] for heading, group in found.items()}


def _has_states(fit: Fit) -> bool:
    return "state" in {dim for dims in fit.model.dims().values() for dim in dims} or isinstance(fit.model, MixtureOfExperts)


def _num_states(fit: Fit) -> int:
    return fit.model.num_states


def _hidden(fit: Fit, data: Sequences) -> list[tuple[Figure, str]]:
    if isinstance(fit.model, MixtureOfExperts):
        return _experts(fit, data)
    if not _has_states(fit):
        return _latents(fit, data)
    if data.times is not None:
        return _states_in_time(fit, data)
    shown = list(range(min(data.num_sequences, _MOST_SEQUENCES)))
    by = next((name for name, label in data.labels.items() if label.dtype == bool), None)
    probabilities = np.asarray(fit.smooth(data))
    paths = new_figure(9.5, float(np.clip(1.4 + 0.1 * len(shown), 2.6, 9.0)))
    plotting.states_over_time(fit.most_probable_path(data).values, data, sequences=shown, by=by, num_states=_num_states(fit), ax=paths.subplots())
    some = new_figure(9.5, 3.6)
    plotting.states_over_time(probabilities, data, sequences=shown[:_DETAILED], ax=some.subplots())
    drawn = [(paths, "Most probable states" + _of(shown, data)), (some, "State probabilities" + _of(shown[:_DETAILED], data))]
    if by is not None and 0 < data.labels[by].sum() < data.num_sequences:
        shares = new_figure(1.8 + 1.4 * _num_states(fit), 3.6)
        plotting.occupancy(occupancy(probabilities), data.labels[by], name=by, other_name=f"not {by}", ax=shares.subplots())
        drawn.append((shares, f"Share of its time that each sequence spends in each state, by the label {by}."))
    return drawn


def _of(shown: list[int], data: Sequences) -> str:
    return f" of all {data.num_sequences} sequences." if len(shown) == data.num_sequences else f" of the first {len(shown)} of {data.num_sequences} sequences."


def _states_in_time(fit: Fit, data: Sequences) -> list[tuple[Figure, str]]:
    count = min(data.num_sequences, _DETAILED)
    figure = new_figure(9.5, 1.9 * count)
    probabilities = fit.smooth(data)
    for sequence, axes in enumerate(figure.subplots(count, 1, squeeze=False)[:, 0]):
        plotting.smoothed_states(probabilities, data, sequence=sequence, ax=axes)
        axes.set_title(f"sequence {sequence}", loc="left", fontsize="medium")
    return [(figure, "State probabilities" + _of(list(range(count)), data))]


def _latents(fit: Fit, data: Sequences) -> list[tuple[Figure, str]]:
    law = fit.smooth(data)
    shown = list(range(min(data.num_sequences, _DETAILED)))
    count = min(law.sizes["latent"], 3)
    panels = count + (count > 1)
    figure = new_figure(9.5, 2.3 * panels)
    plotting.latent_trajectories(law, data, sequences=shown, ax=list(figure.subplots(panels, 1, squeeze=False)[:, 0]))
    return [(figure, f"Smoothed latents, mean and two standard deviations,{_of(shown, data)}")]


def _experts(fit: Fit, data: Sequences) -> list[tuple[Figure, str]]:
    if data.num_features != 1 or not data.inputs:
        return []
    figure = new_figure(9.5, 3.8)
    left, right = figure.subplots(1, 2)
    plotting.expert_fits(fit, data, ax=left)
    plotting.gate_weights(fit, data, ax=right)
    return [(figure, "Observations and experts over the first input, and the weights of the gate.")]


def _moves(fit: Fit, data: Sequences | None) -> list[tuple[Figure, str]]:
    if isinstance(fit.model, MarkovJumpProcess) and "transition.rates" in fit.params:
        figure = new_figure(5.2, 4.6)
        plotting.generator_graph(fit.params["transition.rates"], ax=figure.subplots())
        return [(figure, "Rates of the jumps, per unit of time of the data.")]
    probs: Any = fit.params.get("transition.probs")
    if probs is None or np.ndim(probs) != 2 or len(probs) < 2:
        return []
    size = 0.85 * len(probs)
    figure = new_figure(2.0 + size, 0.9 + size)
    plotting.transition_matrix(probs, bin_width=None if data is None else data.bin_width, ax=figure.subplots())
    return [(figure, "Transition probabilities from one step to the next.")]


def _connections(fit: Fit) -> list[tuple[Figure, str]]:
    emission: Any = getattr(fit.model, "emission", None)
    if getattr(emission, "coupling", None) is None or not hasattr(emission, "coupling_weights"):
        return []
    weights = np.asarray(emission.coupling_weights(fit.params))
    figure = new_figure(2.5 * len(weights) + 0.9, 3.0)
    plotting.coupling(weights, ax=list(figure.subplots(1, len(weights), squeeze=False)[0]))
    drawn = [(figure, "Coupling in each state (one colour scale; own history left out).")]
    if "emission.type_prior" in fit.params:
        types = new_figure(3.6, 3.0)
        plotting.connection_types(fit.params["emission.type_prior"], ax=types.subplots())
        drawn.append((types, "Learned connection types that the states share."))
    return drawn


def _way(fit: Fit) -> list[tuple[Figure, str]]:
    if not any(len(record.log_joint_history) for record in fit.restarts):
        return []
    figure = new_figure(6.4, 3.4)
    plotting.em_trace(fit, ax=figure.subplots())
    return [(figure, "Log-joint of every restart, as its distance below the best one.")]
