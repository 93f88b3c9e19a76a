"""The Voronoi losses of the literature on gated mixtures, read from parameters of the library's models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .cells import Atoms, Form, Term
from .protocol import Estimates, Estimator, Loss, Truth
from .translation import voronoi_distance

# Smallest orders at which the polynomial systems of Ho and Nguyen have only trivial solutions, by cell size.
KNOWN_ORDERS = {2: 4.0, 3: 6.0}
_TRANSFORMS = {"": np.asarray, "square": np.square, "log": np.log}
# Cells of sigmoid gates have the same powers whatever their size.
_MOST_ATOMS = 64
_GATE = ("gate.weights", "gate.bias")
_LINEAR_EXPERTS = {"slope": ("experts.weights", ""), "intercept": ("experts.bias", ""), "variance": ("experts.scale", "square")}


class VoronoiLoss(Loss):
    """A Voronoi distance as a loss of a study; see `cells.Form` for what it is and `translation.voronoi_distance` for its infimum over translations.

    An estimate whose cells are larger than the orders known has no distance, and gets NaN.

    Args:
        name: in the results.
        form: which distance.
        log_mass: (parameter of the model, transform) that the log-mass or bias of an atom is read from; the transform is "", "square" or "log".
        parameters: likewise for each parameter of `form`; a parameter that experts share is repeated.

    Raises:
        ValueError: for a parameter of the form that is not read from anything, or an unknown transform.
    """

    name: str
    form: Form
    log_mass: tuple[str, str]
    parameters: tuple[tuple[str, str, str], ...]

    def __init__(self, name: str, form: Form, log_mass: tuple[str, str], parameters: Mapping[str, tuple[str, str]]):
        needed = [wanted for wanted in form.parameters if wanted != "bias"]
        absent = [wanted for wanted in needed if wanted not in parameters]
        if absent:
            raise ValueError(f"parameters: found none for {', '.join(absent)}, expected one for each of {', '.join(needed)}.")
        for _, transform in (log_mass, *parameters.values()):
            if transform not in _TRANSFORMS:
                raise ValueError(f"transform: found {transform!r}, expected one of {', '.join(map(repr, _TRANSFORMS))}.")
        self.name, self.form, self.log_mass = name, form, log_mass
        self.parameters = tuple((wanted, *parameters[wanted]) for wanted in needed)

    @property
    def names(self) -> tuple[str, ...]:
        """Its own name."""
        return (self.name,)

    def check(self, truth: Truth, estimator: Estimator) -> None:
        """The truth must have the parameters, and orders must be known for the largest cell when none is empty."""
        missing = [source for source in (self.log_mass[0], *(source for _, source, _ in self.parameters)) if source not in truth.params]
        if missing:
            raise ValueError(f"losses: found {self.name!r}, which reads {', '.join(missing)}; the truth {truth.name!r} has only {', '.join(truth.params)}.")
        if self.form.selected is not None and not 1 <= self.form.selected <= truth.num_experts:
            raise ValueError(f"losses: found {self.name!r} over {self.form.selected} selected cells, expected 1 to {truth.num_experts}.")
        if estimator.model is not None:
            largest = estimator.model.num_experts - truth.num_experts + 1
            if largest > self.form.largest_cell:
                raise ValueError(
                    f"losses: found {self.name!r} with orders of cells of up to {self.form.largest_cell:g} atoms, and {estimator.name!r} fits "
                    f"{estimator.model.num_experts} experts to {truth.num_experts}, so that a cell may have {largest}; pass orders={{..., {largest}: ...}}."
                )

    def atoms(self, params: Mapping[str, Any]) -> Atoms:
        """The mixing measure of parameters."""
        log_mass = np.asarray(_TRANSFORMS[self.log_mass[1]](np.asarray(params[self.log_mass[0]], float)))
        read = {}
        for name, source, transform in self.parameters:
            values = np.asarray(_TRANSFORMS[transform](np.asarray(params[source], float)))
            own = values.ndim > 0 and len(values) == len(log_mass)
            read[name] = values if own else np.broadcast_to(values, (len(log_mass), *values.shape))
        return Atoms(log_mass, read)

    def evaluate(self, truth: Truth, estimator: Estimator, estimates: Estimates, inputs: np.ndarray, values: np.ndarray) -> dict[str, np.ndarray]:
        """See `Loss.evaluate`."""
        target = self.atoms(truth.params_at(values.shape[1]))
        arrays = {name: np.asarray(value) for name, value in estimates.params.items()}
        found = [self._distance({name: value[index] for name, value in arrays.items()}, target) for index in range(len(values))]
        return {self.name: np.array(found)}

    def _distance(self, params: dict[str, np.ndarray], target: Atoms) -> float:
        with np.errstate(divide="ignore"):
            atoms = self.atoms(params)
        try:
            return voronoi_distance(self.form, atoms, target).value
        except ValueError:
            return np.nan


def exact(name: str = "D1", *, selected: int | None = None) -> VoronoiLoss:
    """D1 of the softmax gate with linear normal experts, for as many experts as there are: all powers one.

    Args:
        name: in the results.
        selected: K of a top-K gate: the worst sum over K cells (Nguyen, Akbarian, Yan and Ho 2024); None for a dense gate.

    Source: Nguyen, Nguyen and Ho 2023, "Demystifying softmax gating function in Gaussian mixture of experts".
    """
    terms = tuple(Term((parameter,)) for parameter in ("gate", *_LINEAR_EXPERTS))
    return _softmax(name, Form(terms, translated="gate", scaled=True, selected=selected))


def over_specified(name: str = "D2", *, orders: Mapping[int, float] = KNOWN_ORDERS, selected: int | None = None, joint: bool = True) -> VoronoiLoss:
    """D2 of the softmax gate with linear normal experts, for more experts than there are.

    Cells of one atom count as in D1; in a cell of m atoms gate slope and intercept are raised to the order r(m), expert slope and variance to r(m) / 2.

    Args:
        name: in the results.
        orders: r(m) by cell size; 4 and 6 are known for m = 2 and 3.
        selected: see `exact`.
        joint: one norm for parameters of equal power, as in the paper, or one for each, as in its code.
    """
    powers = _orders(orders)
    split = (("gate", "intercept"), ("slope", "variance")) if joint else (("gate",), ("intercept",), ("slope",), ("variance",))
    halves = [power / 2 if "slope" in group or "variance" in group else power for group in split for power in powers]
    terms = [Term((parameter,), (1.0, *[None] * len(powers))) for parameter in ("gate", *_LINEAR_EXPERTS)]
    terms += [Term(group, (None, *halves[i * len(powers) : (i + 1) * len(powers)])) for i, group in enumerate(split)]
    return _softmax(name, Form(tuple(terms), translated="gate", scaled=True, selected=selected))


def laplace(name: str = "D2", *, orders: Mapping[int, float] | None = KNOWN_ORDERS, centres: str = "gate.centres") -> VoronoiLoss:
    """D2 of the Laplace gate with linear normal experts: powers 2, 2, r, r / 2 of centre, slope, intercept, variance (Han, Nguyen, Harris, Ho, Saria 2024).

    Centres are no scores, so only the biases can be translated.

    Args:
        name: in the results.
        orders: r(m) by cell size; None for the loss of as many experts as there are, whose powers are all one.
        centres: parameter of the model that holds them.
    """
    powers = () if orders is None else _orders(orders)
    twos, halves = tuple(2.0 for _ in powers), tuple(power / 2 for power in powers)
    by_parameter = {"gate": twos, "slope": twos, "intercept": powers, "variance": halves}
    terms = tuple(Term((parameter,), (1.0, *own) if powers else 1.0) for parameter, own in by_parameter.items())
    return VoronoiLoss(name, Form(terms, scaled=True), (_GATE[1], ""), {"gate": (centres, ""), **_LINEAR_EXPERTS})


def sigmoid(
    name: str = "D1",
    *,
    log_mass: tuple[str, str] = (_GATE[1], ""),
    gate: tuple[str, str] = (_GATE[0], ""),
    experts: Mapping[str, tuple[str, str]] | None = None,
) -> VoronoiLoss:
    """D1 of sigmoid gates (Nguyen, Ho and Rinaldo 2024): nothing to translate, atoms not weighed.

    A cell of one atom costs the norms of its differences, bias included; a larger one the difference of the sums of sigmoid(bias), and the squares of the
    norms of all other differences.

    Args:
        name: in the results.
        log_mass, gate: parameters of the model, each with its transform, that hold biases and slopes of the gate.
        experts: likewise those of the experts; those of linear normal ones if None.
    """
    reads = {"gate": gate, **(_LINEAR_EXPERTS if experts is None else experts)}
    alone = Term(("bias",), (1.0, *[None] * (_MOST_ATOMS - 1)))
    terms = tuple(Term((parameter,), (1.0, *[2.0] * (_MOST_ATOMS - 1))) for parameter in reads)
    return VoronoiLoss(name, Form((alone, *terms), mass="sigmoid", weighted=False, single_masses=False), log_mass, reads)


def gaussian_gate(
    name: str = "voronoi",
    *,
    orders: Mapping[int, float] = KNOWN_ORDERS,
    centred: tuple[int, ...] = (),
    probs: str = "gate.probs",
    means: str = "gate.means",
    covariances: tuple[str, str] = ("gate.covariances", ""),
) -> VoronoiLoss:
    """The loss of Gaussian gates with linear normal experts (Nguyen, Nguyen, Nguyen and Ho 2024): no translation, atoms weighed by their probabilities.

    In a cell of m atoms the powers of centre, covariance, slope, intercept and variance are r, r / 2, 2, r, r / 2; where the true centre is zero (type II),
    that of the slope is r / 2.

    Args:
        name: in the results.
        orders: r(m) by cell size.
        centred: true atoms whose centre is zero.
        probs, means: parameters of the model that hold probabilities and centres of the gate.
        covariances: likewise, with the transform that makes (co)variances of it.
    """
    powers = _orders(orders)
    halves = tuple(power / 2 for power in powers)
    reads = {"centre": (means, ""), "spread": covariances, **_LINEAR_EXPERTS}
    terms = [Term((parameter,), (1.0, *of)) for parameter, of in (("centre", powers), ("spread", halves), ("intercept", powers), ("variance", halves))]
    terms += [Term(("slope",), (1.0, *(2.0 for _ in powers)), excluded=centred), Term(("slope",), (1.0, *halves), atoms=centred)]
    return VoronoiLoss(name, Form(tuple(terms)), (probs, "log"), reads)


def _orders(orders: Mapping[int, float]) -> tuple[float, ...]:
    sizes = sorted(orders)
    if sizes != list(range(2, 2 + len(sizes))) or not sizes:
        raise ValueError(f"orders: found cells of {', '.join(map(str, sizes)) or 'no'} atoms, expected 2, 3, ... without a gap.")
    return tuple(float(orders[size]) for size in sizes)


def _softmax(name: str, form: Form) -> VoronoiLoss:
    return VoronoiLoss(name, form, (_GATE[1], ""), {"gate": (_GATE[0], ""), **_LINEAR_EXPERTS})


def proposed(truth: Truth, model: Any) -> tuple[VoronoiLoss, ...]:
    """The losses of the literature for a fitted mixture: D1, and D2 where up to two experts are too many; none for gates or experts that it does not treat."""
    from latentgate.models.experts import LinearGaussian
    from latentgate.models.gates import Gaussian, Laplace, Softmax, TopK

    own = truth.model
    if own is None or type(own.gate) is not type(model.gate) or not all(isinstance(one.experts, LinearGaussian) for one in (own, model)):
        return ()
    too_many = model.num_experts - truth.num_experts
    known = 0 < too_many < max(KNOWN_ORDERS)
    if isinstance(own.gate, Softmax | TopK):
        selected = own.gate.num_selected if isinstance(own.gate, TopK) else None
        return (exact(selected=selected), *((over_specified(selected=selected),) if known else ()))
    if isinstance(own.gate, Laplace):
        return (laplace("D1", orders=None), *((laplace(),) if known else ()))
    if isinstance(own.gate, Gaussian) and too_many < max(KNOWN_ORDERS):
        return (gaussian_gate(centred=tuple(int(index) for index in np.flatnonzero(~np.asarray(truth.params["gate.means"]).any(-1)))),)
    return ()
