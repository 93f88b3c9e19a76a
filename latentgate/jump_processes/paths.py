"""Whole paths between observations, drawn from their posterior by uniformisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from scipy.stats import poisson

from latentgate.data import Sequences
from latentgate.data.jump_processes import JumpPath
from latentgate.data.panel import EXACT_ENTRY, OBSERVED_CONTINUOUSLY
from latentgate.models.base import without_prefix
from latentgate.models.transitions.edges import Edges, edges_of

from .quantities import require_jump_process

if TYPE_CHECKING:
    from latentgate.inference import Fit


def sample_paths(fit: Fit, data: Sequences, num_samples: int, seed: int) -> list[list[JumpPath]]:
    """Exact posterior draws of whole paths, jumps between observations included.

    States at the rows are drawn by forward filter, backward sample; between two rows the number of jumps of the uniformised chain, the states visited and the
    jump times, given both ends. Each path is of another draw of the parameters, if the fit has draws.

    Args:
        fit: of a `MarkovJumpProcess`.
        data: sequences.
        num_samples: draws of every sequence.
        seed: of the draws.

    Returns:
        paths, indexed by draw and then by sequence.

    Source: Hobolth, Stone, Ann. Appl. Stat. 3:1204 (2009), uniformisation.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> data = lg.Sequences.from_arrays([np.array([0.0, 0.0, 1.0, 0.0])] * 9, times=[np.array([0.0, 0.4, 1.1, 2.5])] * 9)
        >>> fit = lg.fit(lg.MarkovJumpProcess(2), data, lg.MAP(), seed=0)
        >>> paths = lg.jump_processes.sample_paths(fit, data, num_samples=2, seed=0)
        >>> paths[0][0].at(data.times[0]).tolist()
        [0, 0, 1, 0]
    """
    model = require_jump_process(fit)
    states = np.asarray(fit.sample_latents(data, num_samples, seed))
    names = tuple(model.jump.input_sets)
    data = model.catalogue(data)
    edges = edges_of(data, names)
    chosen = fit.parameters(num_samples)
    rng = np.random.default_rng(seed)
    drawn = []
    for draw, rows in enumerate(states):
        params = {name: jnp.asarray(value[draw]) for name, value in chosen.items()}
        generators = np.asarray(model.jump.generator.matrices(without_prefix("transition", params), edges.covariates), float)
        bridges = [_Bridge(rng, generator) for generator in generators]
        drawn.append([_path(bridges, edges, data, rows, sequence) for sequence in range(data.num_sequences)])
    return drawn


def _path(bridges: list[_Bridge], edges: Edges, data: Sequences, rows: np.ndarray, sequence: int) -> JumpPath:
    """A path of one sequence through its states at the rows."""
    length = int(data.lengths[sequence])
    row_times = np.asarray(data.times)[sequence, :length]
    times, states = [row_times[:1]], [rows[sequence, :1]]
    for row in range(1, length):
        edge = 0 if edges.step is None else int(edges.step[sequence, row - 1])
        kind = 0 if edges.arrivals is None else int(edges.arrivals[edge])
        start, end = int(rows[sequence, row - 1]), int(rows[sequence, row])
        inside, visited = bridges[int(edges.generator[edge])].between(start, end, row_times[row] - row_times[row - 1], kind)
        times.append(row_times[row - 1] + inside)
        states.append(visited)
    return JumpPath(np.concatenate(times), np.concatenate(states).astype(int), float(row_times[-1]))


class _Bridge:
    """Paths of one generator between two states; remembers the powers of its uniformised chain."""

    def __init__(self, rng: np.random.Generator, generator: np.ndarray):
        self.rng = rng
        self.rates = np.where(np.eye(len(generator), dtype=bool), 0.0, generator)
        self.fastest = max(float(-generator.diagonal().min()), np.finfo(float).tiny)
        self.powers = [np.eye(len(generator))]
        self.step = np.eye(len(generator)) + generator / self.fastest

    def _up_to(self, number: int) -> np.ndarray:
        while len(self.powers) <= number:
            self.powers.append(self.powers[-1] @ self.step)
        return np.array(self.powers[: number + 1])

    def between(self, start: int, end: int, gap: float, kind: int) -> tuple[np.ndarray, np.ndarray]:
        """Times of the jumps after the start, and the states entered."""
        if kind == OBSERVED_CONTINUOUSLY:
            return (np.array([gap]), np.array([end])) if start != end else (np.zeros(0), np.zeros(0, int))
        expected = self.fastest * gap
        # As many more as there are states: a long way that must be taken in a short time is taken, however unlikely it was.
        most = int(np.ceil(expected + 8 * np.sqrt(expected) + 16)) + len(self.rates)
        powers, heights = self._up_to(most), poisson.pmf(np.arange(most + 1), expected)
        if kind == EXACT_ENTRY:
            # The state just before the moment of entry, then a path to it.
            arriving = (heights @ powers[:, start]) * self.rates[:, end]
            before = self._choose(arriving)
            times, visited = self._visits(powers, heights, start, before, gap)
            return np.append(times, gap), np.append(visited, end)
        return self._visits(powers, heights, start, end, gap)

    def _visits(self, powers: np.ndarray, heights: np.ndarray, start: int, end: int, gap: float) -> tuple[np.ndarray, np.ndarray]:
        number = self._choose(heights * powers[:, start, end])
        states = [start]
        for left in range(number - 1, -1, -1):
            states.append(self._choose(self.step[states[-1]] * powers[left, :, end]))
        moved = np.diff(states) != 0
        return np.sort(self.rng.uniform(0.0, gap, number))[moved], np.array(states[1:], int)[moved]

    def _choose(self, weights: np.ndarray) -> int:
        cumulative = np.cumsum(weights)
        return int(np.searchsorted(cumulative, self.rng.random() * cumulative[-1], side="right"))
