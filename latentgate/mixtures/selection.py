"""How many experts: the integrated completed likelihood, and the dendrogram of the mixing measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.special import entr

from latentgate.data import Sequences
from latentgate.inference.coordinates import double_precision
from latentgate.models import MixtureOfExperts
from latentgate.models.emissions.statistics import column_spread, feature_moments
from latentgate.models.experts.lines import Lines
from latentgate.models.gates import Softmax

from .arguments import data_of, require_fit

if TYPE_CHECKING:
    from latentgate.inference import Fit

_PARAMETERS = {"gate.weights", "gate.bias", "experts.weights", "experts.bias", "experts.scale"}


def icl(fit: Fit, data: Sequences | None = None, *, hard: bool = False) -> float:
    """Integrated completed likelihood as a criterion: BIC + 2 × entropy of the responsibilities. Smaller is better.

    Beside `fit.bic(data)` it charges for experts that the data cannot tell apart, and so counts clusters rather than components of a density.

    Args:
        fit: of `lg.MixtureOfExperts`.
        data: the sequences; those of the fit if None.
        hard: put each row to its most probable expert, which replaces the entropy Σ_n Σ_k −r_nk log r_nk by Σ_n −log max_k r_nk, as flexmix does.

    Raises:
        ValueError: for a fit of another model, or one without data.

    Source: Biernacki, Celeux, Govaert, IEEE Trans. Pattern Anal. Mach. Intell. 22:719 (2000); R package flexmix (hard).

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> y = np.abs(x) + 0.1 * np.random.default_rng(0).normal(size=x.shape)
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(2))
        >>> fit = lg.fit(model, lg.Sequences.from_arrays([y], inputs=[x]), lg.EM(restarts=2), seed=0)
        >>> lg.mixtures.icl(fit) > fit.bic(fit.data)
        True
    """
    require_fit(fit)
    data = data_of(fit, data)
    responsibilities = np.asarray(fit.smooth(data))[np.asarray(data.mask)]
    doubt = -np.log(responsibilities.max(-1)).sum() if hard else entr(responsibilities).sum()
    return fit.bic(data) + 2.0 * float(doubt)


@dataclass(frozen=True)
class Dendrogram:
    """Experts of a fit merged one pair after the other; made by `dendrogram`.

    Attributes:
        levels: dataset over `level`, the number of experts left, from that of the fit down to one: `height` of the merge that ends the level (NaN for one
            expert), `log_likelihood` of the data under the merged parameters, and `criterion` (NaN for one expert).
        params: {level: parameters}, of a model with so many experts.
        linkage: the tree, [merge, 4], as `scipy.cluster.hierarchy` has it: two nodes, height, number of the fit's experts below. Experts are nodes 0 to K - 1.
            Heights need not rise along it, since a merged atom weighs more than its parts.
        members: {level: labels [expert of the fit] of the expert that each has become}.
    """

    levels: xr.Dataset
    params: dict[int, dict[str, np.ndarray]]
    linkage: np.ndarray
    members: dict[int, np.ndarray]

    @property
    def num_experts(self) -> int:
        """The level of least criterion."""
        criterion = self.levels["criterion"]
        return int(criterion["level"][int(np.nanargmin(criterion.values))])


def dendrogram(fit: Fit, data: Sequences | None = None, *, standardise: bool = True) -> Dendrogram:
    """Merges the two closest experts of an over-fitted mixture again and again, and finds from heights and likelihoods how many there are.

    Atom i has mass m_i and location (gate slope β_i, expert mean a_i·x + b_i, variance v_i). The distance of two is

        (m_i m_j / (m_i + m_j)) (‖β_i − β_j‖² + (b_i − b_j)² + √(‖a_i − a_j‖² + (v_i − v_j)²)),

    and the merged atom has the sum of the masses and the mean of the locations, weighted by mass. The height of a level is the distance of the pair that is
    merged to leave it, and its criterion

        DSC = −(height + (log n / n) · log-likelihood of the merged parameters);

    the level of least criterion is chosen. One expert has no height, and is never chosen. Fit once with more experts than there can be.

    **Gauge.** Masses are exp(bias) up to a common factor, and depend on the origin of the inputs; locations depend on units. With `standardise` inputs are
    centred at their mean and they and observations are in units of their standard deviation, and masses sum to one: a mass is then the weight of the expert at
    the mean input, and nothing depends on origins and units. Without it parameters stand as they are in the model, and masses are relative to the last expert
    of the fit, whose mass is one, as in the published experiments.

    Args:
        fit: of `lg.MixtureOfExperts` with `lg.gates.Softmax` and experts that are lines of the inputs, or of columns made of them.
        data: the sequences; those of the fit if None.
        standardise: see above.

    Raises:
        ValueError: for a fit of another model, of a single expert, or without data.

    Source: arXiv 2510.12744 (dendrograms of softmax-gated Gaussian mixtures of experts); the distance with the gate's slopes, which the code published
        with it leaves out.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> y = np.abs(x) + 0.1 * np.random.default_rng(0).normal(size=x.shape)
        >>> model = lg.MixtureOfExperts(gate=lg.gates.Softmax(), experts=lg.experts.LinearGaussian(3))
        >>> fit = lg.fit(model, lg.Sequences.from_arrays([y], inputs=[x]), lg.EM(restarts=2), seed=0)
        >>> lg.mixtures.dendrogram(fit).num_experts
        2
    """
    model = require_fit(fit)
    if not isinstance(model.gate, Softmax) or not isinstance(model.experts, Lines) or set(fit.params) != _PARAMETERS:
        found = f"{type(model.gate).__name__} and {type(model.experts).__name__}"
        raise ValueError(f"fit: found a gate and experts of the kinds {found}, expected lg.gates.Softmax and lg.experts.LinearGaussian (or Polynomial).")
    if model.num_experts < 2:
        raise ValueError("fit: found one expert, expected at least two to merge.")
    data = data_of(fit, data)
    units = _Units(model, data, standardise)
    atoms = units.atoms(fit.params)
    num_experts = model.num_experts
    nodes, below, members = list(range(num_experts)), [1] * num_experts, np.arange(num_experts)
    params, labels, heights, linkage, values = {}, {}, [], [], []
    for level in range(num_experts, 0, -1):
        params[level], labels[level] = units.params(atoms, fit.params), members.copy()
        values.append(_log_likelihood(_with_experts(model, level), params[level], data))
        if level == 1:
            heights.append(np.nan)
            break
        first, second, height = _closest(atoms)
        heights.append(height)
        size = below[first] + below[second]
        linkage.append([*sorted((nodes[first], nodes[second])), height, size])
        atoms = _merged(atoms, first, second)
        nodes[first], below[first] = 2 * num_experts - level, size
        del nodes[second], below[second]
        members = np.where(members == second, first, members)
        members = members - (members > second)
    count = data.num_steps
    criterion = -(np.array(heights) + np.log(count) / count * np.array(values))
    table = {"height": heights, "log_likelihood": values, "criterion": criterion}
    levels = xr.Dataset({name: ("level", np.asarray(column)) for name, column in table.items()}, coords={"level": np.arange(num_experts, 0, -1)})
    return Dendrogram(levels, params, np.array(linkage, float), labels)


class _Units:
    """Parameters of a model to atoms and back: columns log_mass, β, b, a, v."""

    def __init__(self, model: MixtureOfExperts, data: Sequences, standardise: bool):
        gate, experts = model.gate, model.experts
        assert isinstance(gate, Softmax)
        assert isinstance(experts, Lines)
        self.temperature, self.shared_scale, self.standardise = gate.temperature, experts.shared_scale, standardise
        with double_precision():
            lengths = jnp.asarray(data.lengths)
            columns = experts.features(jnp.asarray(data.inputs[experts.inputs]))
            own = [column_spread(jnp.asarray(data.inputs[gate.inputs]), lengths), column_spread(columns, lengths), feature_moments(data)]
        moments = [(np.array(mean), np.array(spread)) for mean, spread in own]
        if not standardise:
            moments = [(np.zeros_like(mean), np.ones_like(spread)) for mean, spread in moments]
        (self.gate_mean, self.gate_spread), (self.mean, self.spread), (y_mean, y_spread) = moments
        self.y_mean, self.y_spread = float(y_mean[0]), float(y_spread[0]) or 1.0

    def atoms(self, params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{name: [atom, ...]}."""
        slopes = np.asarray(params["gate.weights"], float) / self.temperature
        log_mass = np.asarray(params["gate.bias"], float) / self.temperature + slopes @ self.gate_mean
        top = log_mass.max() + np.log(np.exp(log_mass - log_mass.max()).sum()) if self.standardise else log_mass[-1]
        weights = np.asarray(params["experts.weights"], float)
        variances = np.broadcast_to(np.asarray(params["experts.scale"], float) ** 2, log_mass.shape) / self.y_spread**2
        return {
            "log_mass": log_mass - top,
            "slope": slopes * self.gate_spread,
            "bias": (np.asarray(params["experts.bias"], float) + weights @ self.mean - self.y_mean) / self.y_spread,
            "weights": weights * self.spread / self.y_spread,
            "variance": np.array(variances),
        }

    def params(self, atoms: dict[str, np.ndarray], like: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Parameters of a model with as many experts as there are atoms; gate rows sum to zero."""
        slopes = atoms["slope"] / self.gate_spread
        log_mass = atoms["log_mass"] - slopes @ self.gate_mean
        weights = atoms["weights"] * self.y_spread / self.spread
        scale = np.sqrt(atoms["variance"]) * self.y_spread
        if self.shared_scale:
            scale = np.asarray(like["experts.scale"], float)
        return {
            "gate.weights": self.temperature * (slopes - slopes.mean(0)),
            "gate.bias": self.temperature * (log_mass - log_mass.mean()),
            "experts.weights": weights,
            "experts.bias": atoms["bias"] * self.y_spread + self.y_mean - weights @ self.mean,
            "experts.scale": scale,
        }


def _closest(atoms: dict[str, np.ndarray]) -> tuple[int, int, float]:
    masses = np.exp(atoms["log_mass"])
    harmonic = 1.0 / (1.0 / masses[:, None] + 1.0 / masses[None])

    def squares(name: str) -> np.ndarray:
        rows = atoms[name].reshape(len(masses), -1)
        return ((rows[:, None] - rows[None]) ** 2).sum(-1)

    distances = harmonic * (squares("slope") + squares("bias") + np.sqrt(squares("weights") + squares("variance")))
    distances[np.tril_indices(len(masses))] = np.inf
    first, second = np.unravel_index(np.argmin(distances), distances.shape)
    return int(first), int(second), float(distances[first, second])


def _merged(atoms: dict[str, np.ndarray], first: int, second: int) -> dict[str, np.ndarray]:
    pair = atoms["log_mass"][[first, second]]
    total = np.logaddexp(*pair)
    shares = np.exp(pair - total)
    merged = {}
    for name, values in atoms.items():
        own = total if name == "log_mass" else np.tensordot(shares, values[[first, second]], 1)
        merged[name] = np.delete(values, second, 0)
        merged[name][first] = own
    return merged


def _with_experts(model: MixtureOfExperts, number: int) -> MixtureOfExperts:
    experts: Any = model.experts
    return MixtureOfExperts(model.gate, eqx.tree_at(lambda part: part.num_experts, experts, number))


def _log_likelihood(model: MixtureOfExperts, params: dict[str, np.ndarray], data: Sequences) -> float:
    with double_precision():
        own = {name: jnp.asarray(value) for name, value in params.items()}
        return float(model.log_likelihood(own, data).sum())
