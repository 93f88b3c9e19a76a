"""Which entries of an array are free, as a hashable value; and the free entries of rows that sum to one."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclasses.dataclass(frozen=True)
class Pattern:
    """Some entries of an array, in row-major order; hashable, so that it can be static in compiled code.

    Attributes:
        shape: of the array.
        entries: positions in the flattened array, ascending.
        groups: of every entry, the number of its group, in order of first appearance: entries of one group are tied. Empty where none are.
        units: of every free coordinate; empty for ones. Coordinates of a like size are what optimisers need.
    """

    shape: tuple[int, ...]
    entries: tuple[int, ...]
    groups: tuple[int, ...] = ()
    units: tuple[float, ...] = ()

    @classmethod
    def of(cls, mask: Any) -> Pattern:
        """The entries where a boolean array is True.

        Raises:
            ValueError: unless it is an array of booleans with at least one dimension.
        """
        array = np.asarray(mask)
        if array.dtype != bool or array.ndim == 0:
            raise ValueError(f"mask: found {array.dtype} of shape {array.shape}, expected an array of booleans; compare a matrix of numbers with > 0.")
        return cls(array.shape, tuple(np.flatnonzero(array).tolist()))

    @property
    def mask(self) -> np.ndarray:
        """Bool array of `shape`, True at the entries."""
        mask = np.zeros(int(np.prod(self.shape)), bool)
        mask[list(self.entries)] = True
        return mask.reshape(self.shape)

    @property
    def num_entries(self) -> int:
        """E; tied entries count once."""
        return max(self.groups) + 1 if self.groups else len(self.entries)

    @property
    def firsts(self) -> tuple[int, ...]:
        """Index, among the entries, of the first of every group, [E]."""
        return tuple(self.groups.index(group) for group in range(self.num_entries)) if self.groups else tuple(range(len(self.entries)))

    def take(self, array: Array) -> Array:
        """[..., *shape] to [..., E]."""
        array = jnp.asarray(array)
        return array.reshape(*array.shape[: array.ndim - len(self.shape)], -1)[..., np.array(self.entries, int)[list(self.firsts)]]

    def put(self, entries: Array) -> Array:
        """[..., E] to [..., *shape], zero elsewhere."""
        entries = jnp.asarray(entries)
        if self.groups:
            entries = entries[..., np.array(self.groups, int)]
        flat = jnp.zeros((*entries.shape[:-1], int(np.prod(self.shape))), entries.dtype).at[..., np.array(self.entries, int)].set(entries)
        return flat.reshape(*entries.shape[:-1], *self.shape)

    def array_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[..., E] to [..., *shape]."""
        return (*shape[:-1], *self.shape)

    def vector_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[..., *shape] to [..., E]."""
        return (*shape[: len(shape) - len(self.shape)], self.num_entries)


def references(allowed: Any) -> np.ndarray:
    """The column that each row of a boolean matrix is compared with, [row]: the diagonal where it is True, else the first True.

    Raises:
        ValueError: unless it is a matrix of booleans with a True in every row.
    """
    array = np.asarray(allowed)
    if array.dtype != bool or array.ndim != 2:
        raise ValueError(f"allowed: found {array.dtype} of shape {array.shape}, expected a matrix of booleans; compare a matrix of numbers with > 0.")
    empty = np.flatnonzero(~array.any(axis=1))
    if empty.size:
        raise ValueError(f"allowed: found no True in row {empty[0]}, expected at least one in every row.")
    diagonal = np.zeros(len(array), bool)
    diagonal[: min(array.shape)] = np.diagonal(array)
    return np.where(diagonal, np.arange(len(array)), array.argmax(axis=1))


def contrasts(allowed: Any) -> np.ndarray:
    """The same matrix without the references: where the free coordinates of rows that sum to one are."""
    array = np.array(allowed)
    array[np.arange(len(array)), references(array)] = False
    return array
