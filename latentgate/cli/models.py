"""Models by the names that people know, and how each is built from data and a few options: one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from latentgate.cli.shared import WrongArguments

if TYPE_CHECKING:
    from latentgate.data import Sequences

_WINDOW = 5


@dataclasses.dataclass(frozen=True)
class Choices:
    """What the arguments say of the model; None where they say nothing.

    Attributes:
        states: hidden states, or experts.
        latents: dimensions of the latents.
        history: steps of the spike history.
        inputs: name of the set of inputs.
        jumps: (from, to) of the jumps that are allowed.
    """

    states: int | None = None
    latents: int | None = None
    history: int | None = None
    inputs: str | None = None
    jumps: tuple[tuple[int, int], ...] | None = None


@dataclasses.dataclass(frozen=True)
class Kind:
    """A model that the command line knows.

    Attributes:
        purpose: what it is for, a few words.
        build: makes it for data.
        needs: choices without which it cannot be built.
        takes: further choices that it heeds.
        first: makes a simpler model whose fit is the start, or None.
        counts: whether the data are counts of spikes, so that bits per spike mean something.
        engine: the one it is fitted with unless told otherwise.
        engines: those it can be fitted with.
    """

    purpose: str
    build: Callable[[Sequences, Choices], Any]
    needs: tuple[str, ...] = ("states",)
    takes: tuple[str, ...] = ()
    first: Callable[[Sequences, Choices], Any] | None = None
    counts: bool = False
    engine: str = "em"
    engines: tuple[str, ...] = ("em", "map", "svi", "nuts")


def build(name: str, data: Sequences, choices: Choices) -> Any:
    """The model of a name for data.

    Raises:
        WrongArguments: for a choice that the model needs and has not, or has and does not heed; see `check`.
        ValueError: from the model itself.
    """
    check(name, choices)
    return KINDS[name].build(data, choices)


def check(name: str, choices: Choices) -> None:
    """Raises WrongArguments for choices that do not go with a model, before any data are read."""
    kind = KINDS[name]
    for choice, value in vars(choices).items():
        if choice in kind.needs and value is None:
            raise WrongArguments(f"--{choice}: found none, expected a number: {name} needs to know how many {choice} there are; give --{choice} 3, say.")
        if value is not None and choice not in kind.needs + kind.takes:
            heeded = ", ".join(f"--{option}" for option in kind.needs + kind.takes) or "none"
            raise WrongArguments(f"--{choice}: {name} has no use for it; leave it out (its options: {heeded}), or choose another model.")


def inputs_of(data: Sequences, choices: Choices) -> tuple[str, int]:
    """Name and width of the set of inputs to use: the one that was named, else the only one.

    Raises:
        WrongArguments: if there is none, or not exactly one and none is named.
    """
    known = ", ".join(f"{name} ({width})" for name, width in data.num_inputs.items()) or "none"
    name = choices.inputs
    if name is None:
        if len(data.num_inputs) != 1:
            raise WrongArguments(f"--inputs: found none, and the recording has the input sets {known}; expected a model without inputs, or --inputs NAME.")
        name = next(iter(data.num_inputs))
    if name not in data.num_inputs:
        raise WrongArguments(f"--inputs: found {name!r}, expected an input set of the recording: {known}.")
    return name, data.num_inputs[name]


def _hmm(emission: Callable[[Sequences, Choices], Any]) -> Callable[[Sequences, Choices], Any]:
    def built(data: Sequences, choices: Choices) -> Any:
        import latentgate as lg

        return lg.HMM(choices.states or 1, emission(data, choices))

    return built


def _emission(name: str, **options: Any) -> Callable[[Sequences, Choices], Any]:
    def made(data: Sequences, choices: Choices) -> Any:
        import latentgate as lg

        return getattr(lg.emissions, name)(data.num_features, **options)

    return made


def _gaussian(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    return lg.emissions.Gaussian(data.num_features, scale=spread(data))


def _categorical(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    return lg.emissions.Categorical(_num_categories(data))


def _history_glm(name: str, coupling: str) -> Callable[[Sequences, Choices], Any]:
    def made(data: Sequences, choices: Choices) -> Any:
        import latentgate as lg

        history = lg.basis.Exponential(window=choices.history or _WINDOW)
        options: dict[str, Any] = {"history": history, "coupling": getattr(lg.priors, coupling)(), "bin_width": data.bin_width or 1.0}
        if choices.inputs is not None:
            options["inputs"], options["num_inputs"] = inputs_of(data, choices)
        return getattr(lg.emissions, name)(data.num_features, **options)

    return made


def _choice_glm(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    name, width = inputs_of(data, choices)
    return lg.emissions.BernoulliGLM(width, name)


def _categorical_glm(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    name, width = inputs_of(data, choices)
    return lg.emissions.CategoricalGLM(_num_categories(data), width, name)


def _regression(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    name, width = inputs_of(data, choices)
    return lg.emissions.LinearRegression(data.num_features, width, name, scale=spread(data))


def _kalman(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    return lg.LinearGaussianSSM(choices.latents, data.num_features)


def _poisson_lds(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    history = None if choices.history is None else lg.basis.Exponential(window=choices.history)
    return lg.PoissonLDS(choices.latents, data.num_features, history=history)


def _langevin(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    return lg.LangevinFlow(choices.latents or 1, data.num_features)


def _experts(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    name, _ = inputs_of(data, choices)
    experts = lg.experts.LinearGaussian(choices.states or 1, name, scale=spread(data))
    return lg.MixtureOfExperts(gate=lg.gates.Softmax(name), experts=experts)


def _jump_process(data: Sequences, choices: Choices) -> Any:
    import latentgate as lg

    states = choices.states or _num_categories(data)
    for jump in choices.jumps or ():
        if max(jump) >= states or jump[0] == jump[1]:
            raise WrongArguments(f"--jumps: found {jump[0]}-{jump[1]}, expected two different states of 0 to {states - 1}.")
    return lg.MarkovJumpProcess(states, generator=None if choices.jumps is None else list(choices.jumps))


def _num_categories(data: Sequences) -> int:
    return max(int(np.max(np.asarray(data.values), where=np.asarray(data.observed), initial=0)) + 1, 2)


def spread(data: Sequences) -> float:
    """Typical standard deviation of a feature, which default priors are scaled by; 1 where nothing varies."""
    values = np.where(np.asarray(data.observed), np.asarray(data.values), np.nan).reshape(-1, data.num_features)
    found = float(np.sqrt(np.nanmean(np.nanmean((values - np.nanmean(values, axis=0)) ** 2, axis=0))))
    return found if found > 0 else 1.0


_GLM = {"takes": ("history", "inputs"), "counts": True}
_LATENTS: dict[str, Any] = {"needs": ("latents",)}

KINDS: dict[str, Kind] = {
    "poisson-hmm": Kind("spike counts whose rates switch", _hmm(_emission("Poisson")), counts=True),
    "negative-binomial-hmm": Kind("counts more variable than Poisson", _hmm(_emission("NegativeBinomial")), counts=True),
    "gaussian-hmm": Kind("continuous signals", _hmm(_gaussian)),
    "bernoulli-hmm": Kind("zeros and ones", _hmm(_emission("Bernoulli"))),
    "categorical-hmm": Kind("one of several categories a step", _hmm(_categorical)),
    "glm-hmm": Kind("spike counts, with spike history and coupling that switch", _hmm(_history_glm("PoissonGLM", "Ridge")), **_GLM),
    "negative-binomial-glm-hmm": Kind("the same, more variable than Poisson", _hmm(_history_glm("NegativeBinomialGLM", "Ridge")), **_GLM),
    "one-hot-glm-hmm": Kind(
        "glm-hmm whose states share types of connections",
        _hmm(_history_glm("PoissonGLM", "OneHot")),
        first=_hmm(_history_glm("PoissonGLM", "Ridge")),
        **_GLM,
    ),
    "bernoulli-glm-hmm": Kind("choices on inputs, with strategies that switch (the GLM-HMM of behaviour)", _hmm(_choice_glm), takes=("inputs",)),
    "categorical-glm-hmm": Kind("choices among several on inputs", _hmm(_categorical_glm), takes=("inputs",)),
    "regression-hmm": Kind("continuous signals on inputs, with coefficients that switch", _hmm(_regression), takes=("inputs",)),
    "kalman": Kind("continuous signals that move in a few dimensions", _kalman, **_LATENTS),
    "poisson-lds": Kind("spike counts of a population that moves in a few dimensions", _poisson_lds, takes=("history",), counts=True, **_LATENTS),
    "langevin-flow": Kind("the same in a learned potential", _langevin, counts=True, engine="amortised", engines=("amortised",), **_LATENTS),
    "mixture-of-experts": Kind("rows on inputs, each by one of several lines that a gate chooses", _experts, takes=("inputs",)),
    "jump-process": Kind("states seen at irregular times (panel data)", _jump_process, needs=(), takes=("states", "jumps")),
}
