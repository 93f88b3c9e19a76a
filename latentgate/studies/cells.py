"""Voronoi distances of two mixing measures as a function of the translation of the true gate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Term:
    """One summand of an atom's distance to the true atom of its cell: a norm raised to a power.

    Args:
        parameters: joined into one vector whose Euclidean norm is taken; "bias" is the log-mass.
        powers: one for all cells, or by the size of the cell 1, 2, 3, ...; None where the term does not count. At least 1, so that the sum is convex.
        atoms: true atoms in whose cells the term counts; None for all.
        excluded: true atoms in whose cells it does not.

    Raises:
        ValueError: for powers below one or no parameters.
    """

    parameters: tuple[str, ...]
    powers: float | tuple[float | None, ...] = 1.0
    atoms: tuple[int, ...] | None = None
    excluded: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.parameters:
            raise ValueError("parameters: found none, expected the name of at least one.")
        listed = self.powers if isinstance(self.powers, tuple) else (self.powers,)
        wrong = [power for power in listed if power is not None and not power >= 1]
        if wrong:
            raise ValueError(f"powers: found {wrong[0]}, expected powers of at least 1.")

    def power_table(self, largest: int) -> np.ndarray:
        """Power for cells of size 0, 1, ..., `largest`; zero where the term does not count, and the last one known beyond its table."""
        if not isinstance(self.powers, tuple):
            return np.full(largest + 1, float(self.powers))
        known = [0.0, *(power or 0.0 for power in self.powers)]
        return np.array((known + known[-1:] * largest)[: largest + 1])


@dataclasses.dataclass(frozen=True)
class Form:
    """A Voronoi distance: Σ_j [ |mass of the atoms in cell j - mass of true atom j| + Σ_{i in cell j} mass_i Σ_terms norm^power ].

    Attributes:
        terms: see `Term`.
        mass: of an atom, given its log-mass or bias b: "exp" for exp(b), "sigmoid" for 1 / (1 + exp(-b)).
        weighted: whether terms are multiplied by the atom's mass.
        translated: the parameter that may be shifted in all true atoms together at no cost; None for none.
        scaled: whether all true masses may be multiplied by one number at no cost.
        single_masses: whether the masses of cells with one atom are compared too.
        selected: the worst sum over this many cells instead of the sum over all; None for all.
    """

    terms: tuple[Term, ...]
    mass: Literal["exp", "sigmoid"] = "exp"
    weighted: bool = True
    translated: str | None = None
    scaled: bool = False
    single_masses: bool = True
    selected: int | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """All parameters of an atom."""
        return tuple(dict.fromkeys(name for term in self.terms for name in term.parameters))

    @property
    def largest_cell(self) -> float:
        """Size of the largest cell that the powers are given for."""
        return min((len(term.powers) for term in self.terms if isinstance(term.powers, tuple)), default=np.inf)


class Atoms(NamedTuple):
    """A mixing measure: log-masses (or biases) [atom] and parameters {name: [atom, ...]}."""

    log_mass: np.ndarray
    params: Mapping[str, np.ndarray]


class Tried(NamedTuple):
    """What was found at shifts: the distance at the best factor of the true masses, that factor, and the size of the largest cell, each [s]."""

    value: np.ndarray
    factor: np.ndarray
    largest: np.ndarray


def joined(tried: list[Tried]) -> Tried:
    """Tried shifts one after the other."""
    return Tried(*(np.concatenate(parts) for parts in zip(*tried, strict=True)))


class Problem:
    """Everything about two measures that does not depend on the shift."""

    def __init__(self, form: Form, estimate: Atoms, truth: Atoms):
        self.form = form
        log_masses = np.asarray(estimate.log_mass, float)
        self.true_masses = _mass(form, np.asarray(truth.log_mass, float))
        if form.scaled:
            log_masses = log_masses - log_masses.max()
            masses = np.exp(log_masses)
            self.masses = masses * (self.true_masses.sum() / masses.sum())
        else:
            self.masses = _mass(form, log_masses)
        self.num_atoms, self.num_true = len(self.masses), len(self.true_masses)
        differences = {name: _rows(estimate.params[name])[:, None] - _rows(truth.params[name])[None] for name in form.parameters}
        self.squares = {name: np.sum(difference**2, -1) for name, difference in differences.items()}
        self.shifted = differences[form.translated] if form.translated is not None else np.zeros((self.num_atoms, self.num_true, 0))
        self.dimension = self.shifted.shape[-1]
        # The bias may be a parameter of a term, but cells are made without it.
        self.fixed_squares = sum((square for name, square in self.squares.items() if name not in (form.translated, "bias")), np.zeros(self.shifted.shape[:2]))
        self.tables = [term.power_table(self.num_atoms) for term in form.terms]
        true = np.arange(self.num_true)
        self.counted = [(term.atoms is None or np.isin(true, term.atoms)) & ~np.isin(true, term.excluded) for term in form.terms]

    def shifted_squares(self, shifts: np.ndarray) -> np.ndarray:
        """Squared norm of the shifted parameter's difference at shifts [s, dimension], [s, atom, true atom]."""
        return np.sum((self.shifted - shifts[:, None, None]) ** 2, -1)

    def cells_at(self, shifts: np.ndarray) -> np.ndarray:
        """Nearest true atom of each atom, [s, atom]."""
        return np.argmin(self.fixed_squares + self.shifted_squares(shifts), -1)

    def norms_and_powers(self, shifts: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
        """Members of cells, bool [s, atom, true atom], and of each term the squared norm and the power, [s, atom]."""
        members = cells[..., None] == np.arange(self.num_true)
        sizes = np.take_along_axis(members.sum(1), cells, -1)
        every = np.arange(self.num_atoms)
        moved = np.take_along_axis(self.shifted_squares(shifts), cells[..., None], -1)[..., 0]
        norms, powers = [], []
        for term, table, counted in zip(self.form.terms, self.tables, self.counted, strict=True):
            square = np.zeros(cells.shape)
            for name in term.parameters:
                square = square + (moved if name == self.form.translated else self.squares[name][every, cells])
            norms.append(square)
            powers.append(np.where(counted[cells], table[sizes], 0.0))
        return members, norms, powers

    def at(self, shifts: np.ndarray, cells: np.ndarray | None = None) -> Tried:
        """The distance at shifts [s, dimension], with the cells [s, atom] given or those of the shifts."""
        cells = self.cells_at(shifts) if cells is None else cells
        members, norms, powers = self.norms_and_powers(shifts, cells)
        atoms = np.zeros(cells.shape)
        for square, power in zip(norms, powers, strict=True):
            atoms += np.where(power > 0, np.sqrt(square) ** power, 0.0)
        if self.form.weighted:
            atoms = atoms * self.masses
        costs = np.einsum("sa,saj->sj", atoms, members)
        totals = np.einsum("a,saj->sj", self.masses, members)
        sizes = members.sum(1)
        compared = np.ones(costs.shape, bool) if self.form.single_masses else sizes != 1
        return Tried(*self._over_factors(costs, totals, compared), sizes.max(-1))

    def _over_factors(self, costs: np.ndarray, totals: np.ndarray, compared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.form.scaled:
            factors = np.ones((len(costs), 1))
        else:
            # The sum is convex and piecewise linear in the factor, so it is least at a kink.
            factors = np.concatenate([totals / self.true_masses, np.zeros((len(costs), 1))], -1)
            if self.form.selected is not None:
                factors = np.concatenate([factors, self._crossings(costs, totals)], -1)
        gaps = np.abs(totals[:, None] - factors[..., None] * self.true_masses)
        each = np.where(compared[:, None], gaps, 0.0) + costs[:, None]
        if self.form.selected is not None:
            each = np.sort(each, -1)[..., self.num_true - self.form.selected :]
        values = each.sum(-1)
        best = np.argmin(values, -1)[:, None]
        return np.take_along_axis(values, best, -1)[:, 0], np.take_along_axis(factors, best, -1)[:, 0]

    def _crossings(self, costs: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """Factors at which two cells cost the same, [s, candidate]; those that do not exist are replaced by zero."""
        found = []
        for j in range(self.num_true):
            for other in range(j):
                for sign in (1.0, -1.0):
                    for other_sign in (1.0, -1.0):
                        slope = sign * self.true_masses[j] - other_sign * self.true_masses[other]
                        level = sign * totals[:, j] - other_sign * totals[:, other] + costs[:, j] - costs[:, other]
                        found.append(np.where(slope != 0, level / np.where(slope != 0, slope, 1.0), 0.0))
        return np.maximum(np.stack(found, -1), 0.0) if found else np.zeros((len(costs), 0))


def _mass(form: Form, log_mass: np.ndarray) -> np.ndarray:
    return np.exp(log_mass) if form.mass == "exp" else 0.5 * (1.0 + np.tanh(0.5 * log_mass))


def _rows(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, float)
    return values.reshape(len(values), -1)
