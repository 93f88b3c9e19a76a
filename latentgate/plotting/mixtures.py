"""Mixtures of experts: weights of the gate over an input, lines of the experts through the data, and the tree in which experts merge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.plotting.axes import axes_or_new, bare, legend_above
from latentgate.plotting.colours import INK, PALE, state_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from latentgate.data import Sequences
    from latentgate.inference import Fit
    from latentgate.mixtures import Dendrogram

_POINTS = 400
_MOST_ROWS = 4000
# Standard deviations on either side of an expert's line.
_BAND = 2.0
# Of the gate, below which an expert's line is only hinted at.
_SOME_WEIGHT = 0.05


def gate_weights(fit: Fit, data: Sequences | None = None, *, column: int | str = 0, at: Any = None, ax: Axes | None = None) -> Axes:
    """Weight of each expert over one input, the rows of the data as ticks below.

    Args:
        fit: of `lg.MixtureOfExperts`.
        data: the sequences, for the range of the input; those of the fit if None.
        column: which input, by index or name.
        at: values [input] of the inputs that are held; their means if None.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for a fit of another model or without data, or an input that does not exist.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> x = np.linspace(0, 1, 60)[:, None]
        >>> data = lg.Sequences.from_arrays([np.abs(x - 0.5)], inputs=[x], names=["response"], input_names=["contrast"])
        >>> model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, data, lg.EM(restarts=2, max_iterations=3), seed=0, progress=False)
        >>> gate_weights(fit).get_xlabel()
        'contrast'
    """
    model, data = _model_and_data(fit, data)
    line = _Line(data, model.gate.inputs, column, at)
    weights = np.exp(np.asarray(model.gate.log_weights(_own("gate", fit), line.inputs)))
    ax = axes_or_new(ax, 5.4, 3.2)
    for expert, colour in enumerate(state_colours(model.num_experts)):
        ax.plot(line.points, weights[:, expert], color=colour, linewidth=2.0, label=_name(expert))
    ax.plot(line.rows, np.full(len(line.rows), -0.03), "|", color=INK, markersize=5, alpha=min(1.0, 60 / len(line.rows)), zorder=1)
    ax.set(xlabel=line.label, ylabel="weight of the expert", ylim=(-0.06, 1.03), xlim=line.range, yticks=[0, 0.5, 1])
    legend_above(ax)
    bare(ax)
    return ax


def expert_fits(fit: Fit, data: Sequences | None = None, *, column: int | str = 0, at: Any = None, ax: Axes | None = None) -> Axes:
    """Observations in the colours of their experts, mixed by responsibility, and each expert's mean over one input with ± 2 standard deviations.

    An expert is drawn strongly where the gate gives it weight, and as a thin dashed line where it does not.

    Args:
        fit: of `lg.MixtureOfExperts` of one feature. Means are drawn for experts that have them, bands for those with a standard deviation.
        data: the sequences; those of the fit if None.
        column: the input along the axis, by index or name.
        at: values [input] of the inputs that are held, for lines and bands; their means if None.
        ax: axes to draw into; None makes a figure.

    Raises:
        ValueError: for a fit of another model or without data, several features, or an input that does not exist.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> x = np.linspace(0, 1, 60)[:, None]
        >>> data = lg.Sequences.from_arrays([np.abs(x - 0.5)], inputs=[x], names=["response"], input_names=["contrast"])
        >>> model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, data, lg.EM(restarts=2, max_iterations=3), seed=0, progress=False)
        >>> expert_fits(fit).get_ylabel()
        'response'
    """
    model, data = _model_and_data(fit, data)
    if data.num_features != 1:
        raise ValueError(f"data: found {data.num_features} features, expected one.")
    line = _Line(data, model.gate.inputs, column, at)
    colours = state_colours(model.num_experts)
    real = np.asarray(data.mask) & np.asarray(data.observed)[..., 0]
    responsibilities = np.asarray(fit.smooth(data))[real]
    values, rows = np.asarray(data.values)[real][:, 0], np.asarray(data.inputs[model.gate.inputs])[real][:, line.column]
    ax = axes_or_new(ax, 5.8, 3.8)
    shown = np.arange(len(rows)) if len(rows) <= _MOST_ROWS else np.random.default_rng(0).choice(len(rows), _MOST_ROWS, replace=False)
    mixed = np.clip(responsibilities[shown] @ colours, 0, 1)
    size, strength = (16, 0.75) if len(shown) < 500 else (7, 0.45)
    ax.scatter(rows[shown], values[shown], size, color=mixed, alpha=strength, linewidth=0, zorder=2)
    # Lines that leave the data must not squeeze them together.
    limits = ax.get_ylim()
    experts: Any = model.experts
    if hasattr(experts, "means") and experts.inputs == model.gate.inputs:
        own = _own("experts", fit)
        means = np.asarray(experts.means(own, line.inputs))
        weights = np.exp(np.asarray(model.gate.log_weights(_own("gate", fit), line.inputs)))
        scale = np.broadcast_to(np.asarray(own["scale"]), model.num_experts) if "scale" in own else None
        for expert, colour in enumerate(colours):
            mean = means[:, expert]
            ax.plot(line.points, mean, color=colour, linewidth=0.9, linestyle=(0, (4, 2)), zorder=3)
            strong = np.where(weights[:, expert] >= _SOME_WEIGHT, mean, np.nan)
            # White below, so that a line can be seen on its own points.
            ax.plot(line.points, strong, color="white", linewidth=4.2, zorder=3.5)
            ax.plot(line.points, strong, color=colour, linewidth=2.4, zorder=4, label=_name(expert))
            if scale is not None:
                reach = _BAND * scale[expert]
                ax.fill_between(line.points, mean - reach, mean + reach, where=np.isfinite(strong), color=colour, alpha=0.14, linewidth=0, zorder=1)
        legend_above(ax)
    name = data.names[0] if data.names else "observation"
    ax.set(xlabel=line.label, ylabel=name, xlim=line.range, ylim=limits)
    bare(ax)
    return ax


def dendrogram(tree: Dendrogram, *, ax: Axes | None = None) -> Axes:
    """The tree in which experts merge, cut at the number that its criterion chooses; a point at each merge says how many are left.

    Heights are drawn as their square root, distances rather than squares, so that small ones can be seen. Merges at no more than the height of an earlier one
    are drawn just above it.

    Args:
        tree: from `latentgate.mixtures.dendrogram`.
        ax: axes to draw into; None makes a figure.

    Raises:
        TypeError: for something else than such a tree.

    Example:
        >>> import numpy as np
        >>> import latentgate as lg
        >>> x = np.linspace(0, 1, 60)[:, None]
        >>> data = lg.Sequences.from_arrays([np.abs(x - 0.5)], inputs=[x], names=["response"], input_names=["contrast"])
        >>> model = lg.MixtureOfExperts(lg.gates.Softmax(), lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, data, lg.EM(restarts=2, max_iterations=3), seed=0, progress=False)
        >>> dendrogram(lg.mixtures.dendrogram(fit)).get_ylabel()
        '√height'
    """
    if not hasattr(tree, "linkage"):
        raise TypeError(f"tree: found {type(tree).__name__}, expected what latentgate.mixtures.dendrogram(fit) returned.")
    num_experts = len(tree.linkage) + 1
    ax = axes_or_new(ax, 2.6 + 0.7 * num_experts, 3.4)
    labels = tree.members[tree.num_experts]
    colours = state_colours(tree.num_experts)
    children = {num_experts + merge: (int(row[0]), int(row[1])) for merge, row in enumerate(tree.linkage)}

    def leaves(node: int) -> list[int]:
        return [node] if node < num_experts else [leaf for child in children[node] for leaf in leaves(child)]

    order = leaves(2 * num_experts - 2)
    place = {leaf: float(index) for index, leaf in enumerate(order)}
    heights = np.sqrt(tree.linkage[:, 2])
    step = 0.03 * max(float(heights.max()), np.finfo(float).tiny)
    level = dict.fromkeys(range(num_experts), 0.0)
    for merge, (node, (one, two)) in enumerate(children.items()):
        level[node] = max(float(heights[merge]), level[one] + step, level[two] + step, level[node - 1] + step if merge else 0.0)
        left, right = sorted((one, two), key=lambda child: place[child])
        place[node] = 0.5 * (place[left] + place[right])
        below = {int(labels[leaf]) for leaf in leaves(node)}
        colour = colours[below.pop()] if len(below) == 1 else INK
        xs = [place[left], place[left], place[right], place[right]]
        for child, x in ((left, place[left]), (right, place[right])):
            own = {int(labels[leaf]) for leaf in leaves(child)}
            ax.plot([x, x], [level[child], level[node]], color=colours[own.pop()] if len(own) == 1 else INK, linewidth=1.8, solid_capstyle="round")
        ax.plot(xs[1:3], [level[node]] * 2, color=colour, linewidth=1.8)
        ax.annotate(f"{num_experts - 1 - merge}", (place[node], level[node]), (4, 3), textcoords="offset points", ha="left", fontsize="small", color=INK)
    ordered = [level[num_experts + merge] for merge in range(len(heights))]
    merges_below = num_experts - tree.num_experts
    cut = 0.5 * ((ordered[merges_below - 1] if merges_below else 0.0) + ordered[merges_below])
    ax.axhline(cut, color=PALE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    ax.annotate(f"{tree.num_experts} experts", (1.0, cut), (-2, 3), xycoords=ax.get_yaxis_transform(), textcoords="offset points", ha="right", fontsize="small")
    ax.set(xticks=range(num_experts), xticklabels=[_name(leaf) for leaf in order], ylabel="√height", xlim=(-0.5, num_experts - 0.2), ylim=(0, None))
    if num_experts > 6:
        ax.set_xticklabels([str(leaf) for leaf in order])
        ax.set_xlabel("expert")
    for label, leaf in zip(ax.get_xticklabels(), order, strict=True):
        label.set(color=colours[int(labels[leaf])], fontweight="bold", fontsize="small")
    bare(ax)
    return ax


class _Line:
    """Inputs that move along one column, the others held."""

    def __init__(self, data: Sequences, name: str, column: int | str, at: Any):
        rows = np.asarray(data.inputs[name])[np.asarray(data.mask)]
        names = list(data.input_names.get(name, ())) or [f"{name}[{index}]" for index in range(rows.shape[1])]
        if isinstance(column, str):
            if column not in names:
                raise ValueError(f"column: found {column!r}, expected one of {', '.join(map(repr, names))}, or an index.")
            column = names.index(column)
        if not 0 <= column < rows.shape[1]:
            raise ValueError(f"column: found {column}, expected 0 to {rows.shape[1] - 1}.")
        held = rows.mean(0) if at is None else np.asarray(at, float)
        if held.shape != (rows.shape[1],):
            raise ValueError(f"at: found shape {held.shape}, expected [{rows.shape[1]}], a value for each input.")
        self.column, self.rows = column, rows[:, column]
        low, high = float(self.rows.min()), float(self.rows.max())
        margin = 0.02 * (high - low) or 1.0
        self.range = (low - margin, high + margin)
        self.points = np.linspace(*self.range, _POINTS)
        self.inputs = np.tile(held, (_POINTS, 1))
        self.inputs[:, column] = self.points
        others = [f"{other} = {value:.3g}" for index, (other, value) in enumerate(zip(names, held, strict=True)) if index != column]
        shown = names[column] if data.input_names.get(name) or rows.shape[1] > 1 else "input"
        self.label = f"{shown}  ({', '.join(others)})" if 0 < len(others) <= 3 else f"{shown}  (others held)" if others else shown


def _model_and_data(fit: Fit, data: Sequences | None) -> tuple[Any, Sequences]:
    from latentgate.mixtures.arguments import data_of, require_fit

    return require_fit(fit), data_of(fit, data)


def _own(part: str, fit: Fit) -> dict[str, Any]:
    # Only now: pictures that need no model should not wait for the models to be imported.
    import jax.numpy as jnp

    from latentgate.models.base import without_prefix

    return {name: jnp.asarray(value) for name, value in without_prefix(part, fit.params).items()}


def _name(expert: int) -> str:
    return f"expert {expert}"
