"""The demonstration's report: one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from latentgate.demonstration.analysis import FREE, ONE_HOT, ONE_STATE, Demonstration
from latentgate.demonstration.pictures import draw
from latentgate.environment import machine, versions
from latentgate.report.fit import RESTARTS, restart_rows
from latentgate.report.page import answer, paragraphs, picture, table, whole_page

_SIGNIFICANT = 0.05


def write_report(demonstration: Demonstration, folder: str | os.PathLike[str], *, pictures: bool = False) -> Path:
    """Writes `report.html` into a folder, which is made if need be.

    Args:
        demonstration: what to report.
        folder: where to.
        pictures: also write the pictures as PNG files into the folder `pictures` beside it.

    Returns:
        the path of the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(demonstration)
    if pictures:
        (folder / "pictures").mkdir(exist_ok=True)
        for name, content in drawn.items():
            (folder / "pictures" / f"{name}.png").write_bytes(content)
    path = folder / "report.html"
    path.write_text(_page(demonstration, drawn), encoding="utf-8")
    return path


def _page(demonstration: Demonstration, pictures: dict[str, bytes]) -> str:
    sections = (
        ("Answer", answer([held_out_sentence(demonstration), occupancy_sentence(demonstration)])),
        ("Data", _data(demonstration)),
        ("Model and engine", _model(demonstration)),
        ("Held-out trials", _held_out(demonstration, pictures)),
        ("States", _states(demonstration, pictures)),
        ("Occupancy", _occupancy(demonstration, pictures)),
        ("Connections", _connections(pictures)),
        ("How every fit ended", _outcomes(demonstration, pictures)),
        ("Versions, precision, time", _circumstances(demonstration)),
    )
    return whole_page(f"One-hot HMM-GLM of {demonstration.origin.name}", sections)


def held_out_sentence(demonstration: Demonstration) -> str:
    """How much better the one-hot HMM-GLM predicts held-out trials than the references, in words."""
    scores = demonstration.scores
    total, gain = scores.bits_per_spike(ONE_HOT), scores.gain(ONE_HOT, ONE_STATE)
    better, count = scores.num_better(ONE_HOT, ONE_STATE), len(scores.spikes)
    verdict = "beats" if gain > 0 else "does not beat"
    return (
        f"On {count} held-out trials the one-hot HMM-GLM reaches {total:.3f} bits per spike over a homogeneous Poisson and {verdict} "
        f"the one-state GLM ({scores.bits_per_spike(ONE_STATE):.3f}), by {gain:+.3f} bits per spike; it is better in {better} of {count} trials."
    )


def occupancy_sentence(demonstration: Demonstration) -> str:
    """Whether the occupancy of the states differs between the two conditions, in words."""
    if not demonstration.tests:
        return "The trials carry no label with two values, so the occupancy of the states is not compared."
    whole, window = demonstration.tests["whole trials"], demonstration.tests["common window"]
    neighbours = demonstration.tests["neighbouring trials"]
    condition = demonstration.condition
    differs = whole.p_value <= _SIGNIFICANT
    words = (
        f"State occupancy {'differs' if differs else 'does not differ detectably'} between trials that are {condition} and trials that are not "
        f"(permutation test over trials, p = {whole.p_value:.2g})."
    )
    if not differs:
        return words
    doubts = []
    if window.p_value > _SIGNIFICANT:
        doubts.append(f"in the window that all trials have no difference shows (p = {window.p_value:.2g})")
    if neighbours.p_value > _SIGNIFICANT:
        doubts.append(f"between neighbouring trials no difference shows (p = {neighbours.p_value:.2g}), so a slow drift could explain it")
    if doubts:
        return f"{words} But {'; and '.join(doubts)}."
    return (
        f"{words} It also does in the window that all trials have (p = {window.p_value:.2g}) and between neighbouring trials, "
        f"where slow drift plays no part (p = {neighbours.p_value:.2g})."
    )


def _data(demonstration: Demonstration) -> str:
    data, origin = demonstration.data, demonstration.origin
    lengths = np.asarray(data.lengths)
    width = 1.0 if data.bin_width is None else data.bin_width
    unit = "steps" if data.bin_width is None else "s"
    kind = "Simulated, not measured." if origin.simulated else "Measured."
    span = f"{lengths.min() * width:g} to {lengths.max() * width:g} {unit} long"
    rows = [
        ("recording", f"{origin.name} ({kind})"),
        ("what", origin.description),
        ("why this one", origin.reason),
        ("file", str(origin.path)),
        ("trials", f"{data.num_sequences}, {span}; {len(demonstration.test)} held out (every fourth)"),
        ("neurons", f"the {data.num_features} most active of {demonstration.num_recorded}"),
    ]
    if data.bin_width is not None:
        rows.append(("bins", f"{1000 * data.bin_width:g} ms"))
    if demonstration.condition is not None:
        labels = data.labels[demonstration.condition]
        rows.append(("condition", f"{demonstration.condition}: {labels.sum()} trials; not: {(~labels).sum()}"))
    return table(("", ""), rows)


def _model(demonstration: Demonstration) -> str:
    settings, fitted = demonstration.settings, demonstration.fits[ONE_HOT]
    return paragraphs(
        [
            f"Model: the spike counts of each neuron are Poisson with a rate that depends, in each of {settings.num_states} hidden states, "
            f"on a bias, on the neuron's own last {settings.window} bins and on those of all others; a connection is a type (inhibitory, none, "
            "excitatory) that the states share through a learned prior, times a strength that is free in each state (one-hot HMM-GLM, "
            "Li et al., ICLR 2024).",
            f"Engine: {fitted.engine}, maximum a posteriori by expectation-maximisation; the first restart starts from the best HMM-GLM with "
            "plain ridge coupling, the others at random.",
        ]
    )


def _held_out(demonstration: Demonstration, pictures: dict[str, bytes]) -> str:
    scores = demonstration.scores
    rows = [("homogeneous Poisson", "0", "", "", "")]
    for model in (ONE_STATE, FREE, ONE_HOT):
        each = scores.bits_per_spike_by_sequence(model)
        low, high = np.nanpercentile(each, (10, 90))
        count = len(scores.spikes)
        against = "" if model == ONE_STATE else f"{scores.num_better(model, ONE_STATE)} of {count}"
        rows.append((model, f"{scores.bits_per_spike(model):.4f}", f"{low:.3f} to {high:.3f}", f"{scores.num_better(model)} of {count}", against))
    heading = ("model", "bits per spike", "10th to 90th percentile of trials", "trials better than Poisson", "trials better than one-state GLM")
    return (
        paragraphs([held_out_sentence(demonstration), _paired_sentence(demonstration)])
        + table(heading, rows, numbers=(1,))
        + picture(pictures["bits_per_spike"], "Held-out bits per spike; each grey line is one held-out trial.")
    )


def _paired_sentence(demonstration: Demonstration) -> str:
    scores = demonstration.scores
    difference = scores.bits_per_spike_by_sequence(ONE_HOT) - scores.bits_per_spike_by_sequence(ONE_STATE)
    difference = difference[~np.isnan(difference)]
    free, count = scores.num_better(ONE_HOT, FREE), len(scores.spikes)
    return (
        f"Trial by trial, the gain over the one-state GLM has median {np.median(difference):+.3f} and runs from {difference.min():+.3f} to "
        f"{difference.max():+.3f} bits per spike. Against the HMM-GLM with ridge coupling the one-hot model is better in {free} of {count} "
        f"trials ({scores.gain(ONE_HOT, FREE):+.4f} bits per spike)."
    )


def _states(demonstration: Demonstration, pictures: dict[str, bytes]) -> str:
    sentences = []
    if demonstration.accuracy is not None:
        share = f"{100 * demonstration.accuracy:.1f} %"
        sentences.append(f"The recording is simulated, so the truth is known: {share} of all bins have the true state after renumbering.")
    sentences.append("States are numbered from the most to the least occupied one.")
    return (
        paragraphs(sentences)
        + picture(pictures["states"], "Most probable states of all trials, with events.")
        + picture(pictures["state_probabilities"], "State probabilities of a few held-out trials, stacked, in the window that all trials have.")
        + picture(pictures["transitions"], "Transition probabilities from one bin to the next.")
    )


def _occupancy(demonstration: Demonstration, pictures: dict[str, bytes]) -> str:
    sentence = occupancy_sentence(demonstration)
    if not demonstration.tests:
        return paragraphs([sentence])
    condition = str(demonstration.condition)
    rows = []
    for name, test in demonstration.tests.items():
        with_label, without = (", ".join(f"{share:.3f}" for share in test.means[row]) for row in (1, 0))
        rows.append((name, with_label, without, f"{test.p_value:.4g}", f"{test.num_arrangements}"))
    width = 1.0 if demonstration.data.bin_width is None else demonstration.data.bin_width
    note = (
        "Statistic: distance between the mean occupancies of the two groups. "
        f"The common window is the first {demonstration.common_steps * width:g} {'s' if demonstration.data.bin_width else 'steps'}, which every "
        "trial has: trials of the two kinds differ in length, and late seconds exist in the long ones only. "
        "Free permutation supposes that trials are exchangeable. Where like trials come in runs, a slow drift would pass for an effect; so the "
        f"last row compares neighbours only: labels change places within blocks of {demonstration.tests['neighbouring trials'].block} consecutive "
        f"trials, whose mean is taken off. Seed {demonstration.seed}."
    )
    heading = ("compared", f"mean share, {condition}", f"mean share, not {condition}", "p", "arrangements")
    caption = "Share of each trial spent in each state."
    return paragraphs([sentence]) + table(heading, rows, numbers=(3, 4)) + paragraphs([note]) + picture(pictures["occupancy"], caption)


def _connections(pictures: dict[str, bytes]) -> str:
    caption = "Coupling in each state (one colour scale; own history left out), and the learned connection types that the states share."
    return picture(pictures["coupling"], caption)


def _outcomes(demonstration: Demonstration, pictures: dict[str, bytes]) -> str:
    rows = [(model, *row) for model, fitted in demonstration.fits.items() for row in restart_rows(fitted)]
    sentences = [f"{model}: {fitted.outcome.value}" for model, fitted in demonstration.fits.items()]
    caption = "Log-joint of every restart, as its distance below the best one."
    return paragraphs(sentences) + table(("model", *RESTARTS), rows, numbers=(2, 3)) + picture(pictures["em"], caption)


def _circumstances(demonstration: Demonstration) -> str:
    rows = [
        ("machine", f"{machine()}; seed {demonstration.seed}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions().items())),
    ]
    times = [(stage, f"{seconds:.1f}") for stage, seconds in demonstration.seconds.items()]
    times.append(("together", f"{sum(demonstration.seconds.values()):.1f}"))
    return table(("", ""), rows) + table(("stage", "seconds, compilation included"), times, numbers=(1,))
