"""What a Hessian determines, what it leaves flat, and where it shows that a point is no maximum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A direction is flat if its standard error is more than this many units; a unit is what the standard error would be were the other coordinates known,
# or the coordinate's own scale, if that is less. In double precision rounding leaves four digits between this and noise (1e-8 of the curvature, against 1e-12).
FLAT_UNITS = 1e4
# Hessians by differences of gradients have a rounding of about 1e-8 of the curvature.
FLAT_UNITS_OF_DIFFERENCES = 1e2
# Of logarithms and log-odds a hundred, a factor of e^100, is as good as nothing, so their unit is a hundredth.
_BENT_UNIT = 1e-2
# Share of a function's sensitivity, squared, that may lie along flat directions before it counts as undetermined itself.
NEGLIGIBLE_SHARE = 1e-8
# Along negative ones, which are not flat but curved the wrong way, a hundredth of the sensitivity says little of a function.
NEGLIGIBLE_NEGATIVE_SHARE = 1e-4
_LISTED = 6


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in unconstrained coordinates that the data leave open, or along which a fit is no maximum.

    Attributes:
        names: coordinates that it moves, by the natural entry that each moves most, the largest loading first.
        loadings: how far, in unconstrained coordinates, the largest 1.
        curvature: second derivative of minus the log-density along it, with these loadings.
        sentence: what it means.
    """

    names: tuple[str, ...]
    loadings: np.ndarray
    curvature: float
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, eq=False)
class Decomposition:
    """A covariance by factors, all in free unconstrained coordinates.

    Attributes:
        unit: of each coordinate, [free].
        smallest: least eigenvalue of the Hessian in units; infinite without coordinates.
        factor: W with W Wᵀ the covariance over what is determined, [free, determined].
        flat: orthonormal basis of what is flat, in units, [free, flat].
        negative: of where the curvature is negative, in units, [free, negative].
    """

    unit: np.ndarray
    smallest: float
    factor: np.ndarray
    flat: np.ndarray
    negative: np.ndarray

    def standard_errors(self, sensitivity: np.ndarray) -> np.ndarray:
        """Of functions by the delta method: infinite where they move along flat directions, NaN along negative ones; [function].

        Args:
            sensitivity: derivative in the free coordinates, [function, free].
        """
        spread = np.sqrt(((sensitivity @ self.factor) ** 2).sum(-1))
        scaled = sensitivity * self.unit
        whole = (scaled**2).sum(-1)
        spread[((scaled @ self.flat) ** 2).sum(-1) > NEGLIGIBLE_SHARE * whole] = np.inf
        spread[((scaled @ self.negative) ** 2).sum(-1) > NEGLIGIBLE_NEGATIVE_SHARE * whole] = np.nan
        return spread


def decompose(hessian: np.ndarray, scale: np.ndarray, bent: np.ndarray, exact: bool) -> Decomposition:
    """Splits the space by the eigenvalues of a Hessian whose coordinates are in comparable units.

    Args:
        hessian: of minus the log-density, [free, free].
        scale: of each coordinate, see `Coordinates`.
        bent: whether its bijection is a logarithm or the like.
        exact: whether the Hessian is exact to rounding.
    """
    if not len(hessian):
        return Decomposition(np.zeros(0), np.inf, *(np.zeros((0, 0)) for _ in range(3)))
    own = np.diag(hessian)
    known = np.divide(1.0, np.sqrt(np.abs(own)), out=np.full(len(own), np.inf), where=own != 0)
    unit = np.minimum(np.where(bent, _BENT_UNIT, 1.0) * scale, known)
    values, vectors = np.linalg.eigh(unit[:, None] * hessian * unit)
    least = (FLAT_UNITS if exact else FLAT_UNITS_OF_DIFFERENCES) ** -2.0
    determined = values >= least
    factor = unit[:, None] * vectors[:, determined] / np.sqrt(values[determined])
    return Decomposition(unit, float(values[0]), factor, vectors[:, np.abs(values) < least], vectors[:, values <= -least])


def describe(basis: np.ndarray, unit: np.ndarray, hessian: np.ndarray, names: list[str], sentence) -> list[Direction]:
    """Directions that span a basis, each of as few coordinates as elimination finds.

    Args:
        basis: orthonormal columns in units, [free, direction].
        unit, hessian: as in `Decomposition`.
        names: [free].
        sentence: from the combination as text, and the names in it, to a sentence.
    """
    found = []
    for row in _few_at_a_time(basis):
        moved = row * unit
        moved = moved / moved[np.argmax(np.abs(moved))]
        order = [int(index) for index in np.argsort(-np.abs(row), kind="stable") if row[index] != 0]
        loadings = moved[order]
        curvature = float(moved @ hessian @ moved)
        chosen = tuple(names[index] for index in order)
        found.append(Direction(chosen, loadings, curvature, sentence(_combination(chosen, loadings), chosen)))
    return found


def _few_at_a_time(basis: np.ndarray) -> list[np.ndarray]:
    """Rows that span the columns of a basis, by elimination with full pivoting: each has coordinates that the others have not."""
    rows = basis.T.copy()
    open_rows = list(range(len(rows)))
    while open_rows:
        row, column = np.unravel_index(np.argmax(np.abs(rows[open_rows])), (len(open_rows), rows.shape[1]))
        pivot = open_rows.pop(int(row))
        rows[pivot] /= rows[pivot, column]
        for other in range(len(rows)):
            if other != pivot:
                rows[other] -= rows[other, column] * rows[pivot]
    return [np.where(np.abs(row) > 1e-3 * np.abs(row).max(), row, 0.0) for row in rows]


def _combination(names: tuple[str, ...], loadings: np.ndarray) -> str:
    terms = [f"{loading:+.3g} {name}" for name, loading in zip(names[:_LISTED], loadings[:_LISTED], strict=True)]
    return " ".join(terms) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def listed(names: tuple[str, ...]) -> str:
    """Names in a sentence, the first few of them."""
    first = list(names[:_LISTED])
    if len(names) > _LISTED:
        return ", ".join(first) + f" and {len(names) - _LISTED} more"
    return first[0] if len(first) == 1 else ", ".join(first[:-1]) + f" and {first[-1]}"
