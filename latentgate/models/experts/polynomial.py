"""Polynomial experts with normal noise."""

from __future__ import annotations

import itertools
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from latentgate.data import Sequences

from ..designs import input_names
from ..emissions.checks import at_least
from .lines import Lines


class Polynomial(Lines):
    """Normal observations about a polynomial of the inputs: y ~ Normal(Σ_d weights[k, d] · monomial_d(inputs) + bias[k], scale[k]²).

    Parameters: `weights` [expert, monomial] in the order of `powers()`, `bias` [expert], standard deviations `scale` [expert], or one for all, [].

    Monomials of inputs far from zero are nearly collinear: centre and scale the inputs to order one. Priors as in `LinearGaussian`.

    Args:
        num_experts: K.
        degree: largest sum of powers.
        inputs: name of the input set.
        interactions: whether products of different inputs are among the monomials.
        num_inputs: its columns; from the data if None.
        shared_scale, scale, weight_prior, bias_prior, variance_prior, min_scale: see `LinearGaussian`.

    Raises:
        ValueError: as `LinearGaussian`, and for a degree below one.

    Example:
        >>> import latentgate as lg
        >>> lg.experts.Polynomial(3, degree=2, num_inputs=2, interactions=True).powers().tolist()
        [[1, 0], [0, 1], [2, 0], [1, 1], [0, 2]]
    """

    degree: int
    interactions: bool

    def __init__(
        self,
        num_experts: int,
        degree: int,
        inputs: str = "inputs",
        *,
        interactions: bool = False,
        num_inputs: int | None = None,
        shared_scale: bool = False,
        scale: float = 1.0,
        weight_prior: dist.Distribution | Literal["flat"] | None = None,
        bias_prior: dist.Distribution | Literal["flat"] | None = None,
        variance_prior: dist.Distribution | Literal["flat"] | None = None,
        min_scale: float | None = None,
    ):
        super().__init__(
            num_experts,
            inputs,
            num_inputs=num_inputs,
            shared_scale=shared_scale,
            scale=scale,
            weight_prior=weight_prior,
            bias_prior=bias_prior,
            variance_prior=variance_prior,
            min_scale=min_scale,
        )
        self.degree = at_least("degree", degree)
        self.interactions = bool(interactions)

    def powers(self) -> np.ndarray:
        """Power of every input in every monomial, [monomial, input], by degree."""
        chosen = itertools.combinations_with_replacement if self.interactions else _repetitions
        rows = [np.bincount(picked, minlength=self.columns) for degree in range(1, self.degree + 1) for picked in chosen(range(self.columns), degree)]
        return np.array(rows)

    @property
    def num_weights(self) -> int:
        """Number of monomials."""
        return len(self.powers())

    @property
    def weight_axis(self) -> str:
        """See `Lines.weight_axis`."""
        return "monomial"

    def features(self, inputs: Any) -> Any:
        """The monomials."""
        stack = np.stack if isinstance(inputs, np.ndarray) else jnp.stack
        return stack([_product(inputs, row) for row in self.powers()], axis=-1)

    def feature_names(self, data: Sequences) -> list[str]:
        """See `Lines.feature_names`."""
        names = input_names(self.inputs, data)
        return [
            " times ".join(f"{name}" if power == 1 else f"{name} to the {power}" for name, power in zip(names, row, strict=True) if power)
            for row in self.powers()
        ]


def _repetitions(columns: range, degree: int) -> list[tuple[int, ...]]:
    return [(column,) * degree for column in columns]


def _product(inputs, powers: np.ndarray):
    """One monomial, [...], by repeated multiplication: a power of a negative number is as exact as any."""
    factors = [inputs[..., column] for column, power in enumerate(powers) for _ in range(power)]
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return result
