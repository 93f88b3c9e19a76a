"""The least value of a Voronoi distance over translations of the true gate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from .cells import Atoms, Form, Problem, Tried, joined

# Golden-section steps: each keeps 0.618 of an interval, so these leave less than a double can resolve of a parabola's bottom.
_GOLDEN_STEPS = 60
_WEISZFELD_STEPS = 60
_POLISHED_STARTS = 2


class Distance(NamedTuple):
    """The least distance, and the translation of the truth where it is taken: its shift [dimension] and the factor of its masses."""

    value: float
    shift: np.ndarray
    factor: float


def voronoi_distance(form: Form, estimate: Atoms, truth: Atoms) -> Distance:
    """The distance with its infimum over translations taken by shifting the truth.

    Cells are those of the parameters of `form` without the log-mass, in Euclidean norm, and are found anew for every shift. In one dimension the minimum is
    exact: between the shifts at which an atom changes its cell the distance is convex. In more it is the best of many local searches.

    Where masses can be multiplied at no cost the estimate must be given a scale, since its masses weigh the terms: here its total mass is that of the truth as
    given. (The papers give the truth with a last bias of zero.) The result then depends neither on the gauge of the estimate nor, up to the truth's total
    mass, on that of the truth. Shifting the estimate instead would let its masses vanish, and the distance be no more than the true mass.

    Args:
        form: which distance.
        estimate: k atoms.
        truth: k* atoms.

    Raises:
        ValueError: for parameters that are not finite, or a cell that is larger than the powers of `form` are given for.

    Example:
        >>> import numpy as np
        >>> from latentgate.studies import Atoms, Form, Term, voronoi_distance
        >>> form = Form((Term(("slope",)), Term(("mean",))), translated="slope", scaled=True)
        >>> truth = Atoms(np.zeros(2), {"slope": np.array([0.0, 4.0]), "mean": np.array([-1.0, 1.0])})
        >>> moved = Atoms(np.zeros(2) + 3.0, {"slope": np.array([7.0, 11.0]), "mean": np.array([-1.0, 1.5])})
        >>> found = voronoi_distance(form, moved, truth)
        >>> round(found.value, 6), found.shift.tolist()
        (0.5, [7.0])
    """
    estimate, truth = (Atoms(measure.log_mass, {**measure.params, "bias": measure.log_mass}) for measure in (estimate, truth))
    for name, values in {"log_mass": estimate.log_mass, **{name: estimate.params[name] for name in form.parameters}}.items():
        if np.isnan(values).any() or (name != "log_mass" and np.isinf(values).any()):
            raise ValueError(f"estimate: found {name} with entries that are not finite, expected numbers.")
    if form.selected is not None and not 1 <= form.selected <= len(truth.log_mass):
        raise ValueError(f"selected: found {form.selected}, expected 1 to {len(truth.log_mass)}, the number of true atoms.")
    problem = Problem(form, estimate, truth)
    if form.translated is None:
        shifts = np.zeros((1, 0))
        tried = problem.at(shifts)
    else:
        shifts, tried = _least_in_one_dimension(problem) if problem.dimension == 1 else _least_in_several(problem)
    best = int(np.argmin(tried.value))
    if tried.largest[best] > form.largest_cell:
        raise ValueError(
            f"powers: found those of cells of up to {form.largest_cell:g} atoms, expected more: {tried.largest[best]} atoms are nearest to one true atom."
        )
    return Distance(float(tried.value[best]), shifts[best], float(tried.factor[best]))


def _least_in_one_dimension(problem: Problem) -> tuple[np.ndarray, Tried]:
    offsets = problem.shifted[..., 0]
    # d² of atom i to true atoms j and l differs by a linear function of the shift, so i changes between the two at one shift.
    squares = problem.fixed_squares + offsets**2
    edges = []
    for j in range(problem.num_true):
        for other in range(j):
            slope = 2.0 * (offsets[:, j] - offsets[:, other])
            moving = slope != 0
            edges.append((squares[moving, j] - squares[moving, other]) / slope[moving])
    low, high = offsets.min(), offsets.max()
    inner = np.concatenate([*edges, np.zeros(0)])
    # Beyond the outermost offsets a shift only adds to every norm, but cells may change there.
    ends = np.unique(np.concatenate([inner, [low, high, min(low, inner.min(initial=low)) - 1.0, max(high, inner.max(initial=high)) + 1.0]]))
    lower, upper = ends[:-1], ends[1:]
    cells = problem.cells_at(0.5 * (lower + upper)[:, None])
    candidates = np.clip(offsets.reshape(1, -1), lower[:, None], upper[:, None])
    candidates = np.concatenate([candidates, lower[:, None], upper[:, None]], -1)
    width = candidates.shape[1]
    shifts, held = candidates.reshape(-1, 1), np.repeat(cells, width, 0)
    tried = problem.at(shifts, held)
    if _piecewise_linear(problem.form):
        return shifts, tried
    golden = 0.5 * (np.sqrt(5.0) - 1.0)
    left, right = upper - golden * (upper - lower), lower + golden * (upper - lower)
    at_left, at_right = problem.at(left[:, None], cells).value, problem.at(right[:, None], cells).value
    for _ in range(_GOLDEN_STEPS):
        smaller = at_left <= at_right
        lower, upper = np.where(smaller, lower, left), np.where(smaller, right, upper)
        fresh = np.where(smaller, upper - golden * (upper - lower), lower + golden * (upper - lower))
        at_fresh = problem.at(fresh[:, None], cells).value
        left, right = np.where(smaller, fresh, right), np.where(smaller, left, fresh)
        at_left, at_right = np.where(smaller, at_fresh, at_right), np.where(smaller, at_left, at_fresh)
    middle = 0.5 * (lower + upper)[:, None]
    return np.concatenate([shifts, middle]), joined([tried, problem.at(middle, cells)])


def _piecewise_linear(form: Form) -> bool:
    """Whether, in one dimension, the distance has no minimum but at a kink."""
    concerned = [term for term in form.terms if form.translated in term.parameters]
    plain = all(len(term.parameters) == 1 and not isinstance(term.powers, tuple) and term.powers == 1 for term in concerned)
    return plain and form.selected is None


def _least_in_several(problem: Problem) -> tuple[np.ndarray, Tried]:
    """Weiszfeld steps from the shifts that bring one atom onto one true atom, with cells found anew at each, then Nelder and Mead from the best."""
    starts = problem.shifted.reshape(-1, problem.dimension)
    shifts, values, step = starts, problem.at(starts).value, np.ones(len(starts))
    for _ in range(_WEISZFELD_STEPS):
        fresh = shifts + step[:, None] * (_weiszfeld(problem, shifts) - shifts)
        found = problem.at(fresh).value
        better = found < values
        shifts, values = np.where(better[:, None], fresh, shifts), np.where(better, found, values)
        step = np.where(better, 1.0, 0.5 * step)
    polished = [
        minimize(
            lambda shift: problem.at(shift[None]).value[0],
            shifts[start],
            method="Nelder-Mead",
            options={"xatol": 1e-10, "fatol": 1e-13, "maxfev": 400 * problem.dimension, "adaptive": True},
        ).x
        for start in np.argsort(values)[:_POLISHED_STARTS]
    ]
    every = np.concatenate([starts, shifts, polished])
    return every, problem.at(every)


def _weiszfeld(problem: Problem, shifts: np.ndarray) -> np.ndarray:
    """Weighted means of the offsets, with the weights under which they are where the distance is stationary, [s, dimension]."""
    cells = problem.cells_at(shifts)
    _, norms, powers = problem.norms_and_powers(shifts, cells)
    weights = np.zeros(cells.shape)
    # At an offset itself a norm has no gradient; far below any distance that matters, the weight is as good as infinite.
    smallest = 1e-24 * (1.0 + np.sum(problem.shifted**2, -1).max())
    for term, square, power in zip(problem.form.terms, norms, powers, strict=True):
        if problem.form.translated in term.parameters:
            weights += power * np.maximum(square, smallest) ** (0.5 * power - 1.0)
    if problem.form.weighted:
        weights = weights * problem.masses
    own = np.take_along_axis(problem.shifted[None], cells[..., None, None], 2)[:, :, 0]
    total = weights.sum(-1, keepdims=True)
    usable = (total > 0) & np.isfinite(total)
    return np.where(usable, np.einsum("sa,sad->sd", weights, own) / np.where(usable, total, 1.0), shifts)
