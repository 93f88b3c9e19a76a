"""Bad input is refused with the name of the argument, the shape that was found and what was expected, before anything is compiled."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from latentgate.kernels import GaussianChain, Information, Observations
from tests.kernels.test_discrete_input import no_compilation, refusal  # noqa: F401 - a fixture

# Made once: making one compiles a program of its own.
KEY = jax.random.key(0)
zeros = functools.partial(np.zeros, dtype=np.float32)
eye = functools.partial(np.eye, dtype=np.float32)

DYNAMICS: dict[str, Any] = {
    "initial_mean": zeros(2), "initial_covariance": eye(2), "matrix": eye(2), "bias": zeros(2), "covariance": eye(2), "lengths": np.array([5, 4]),
}  # fmt: skip
OBSERVATIONS: dict[str, Any] = {
    "values": zeros((2, 5, 3)),
    "matrix": zeros((3, 2)),
    "bias": zeros(3),
    "covariance": eye(3),
    "observed": np.ones((2, 5, 3), bool),
}
INFORMATION: dict[str, Any] = {"precision": eye(2), "shift": zeros((2, 5, 2)), "log_constant": zeros((2, 5))}

CALLS: dict[str, Callable[[GaussianChain], Any]] = {
    "log_normaliser": lambda chain: chain.log_normaliser(),
    "filter": lambda chain: chain.filter().means,
    "smooth": lambda chain: chain.smooth().means,
    "sample": lambda chain: chain.sample(KEY),
}

# What is wrong, the changed arguments, and the argument that the message must name; the found shape must be in it too.
IN_DYNAMICS = {
    "initial mean of another size": {"initial_mean": zeros(3)},
    "initial mean is a number": {"initial_mean": zeros(())},
    "initial mean of another batch": {"initial_mean": zeros((3, 2))},
    "initial covariance of another size": {"initial_covariance": eye(3)},
    "initial covariance is a vector": {"initial_covariance": zeros(2)},
    "matrix not square": {"matrix": zeros((2, 3))},
    "matrix of another size": {"matrix": eye(3)},
    "matrix of another batch": {"matrix": zeros((3, 2, 2))},
    "per-step matrices as long as the observations": {"matrix": zeros((2, 5, 2, 2))},
    "per-step matrices one too short": {"matrix": zeros((2, 3, 2, 2))},
    "bias of another size": {"bias": zeros(3)},
    "per-step bias as long as the observations": {"bias": zeros((2, 5, 2))},
    "covariance of another size": {"covariance": eye(3)},
    "covariance is a vector of variances": {"covariance": zeros(2)},
    "per-step covariances as long as the observations": {"covariance": zeros((2, 5, 2, 2))},
    "lengths of another batch": {"lengths": np.array([5, 4, 3])},
    "lengths of two dimensions": {"lengths": np.array([[5, 4]])},
    "fractional lengths": {"lengths": np.array([5.0, 4.0], np.float32)},
    "lengths that are truth values": {"lengths": np.array([True, True])},
}
IN_OBSERVATIONS = {
    "values are a vector": {"values": zeros(3), "observed": None},
    "no steps": {"values": zeros((2, 0, 3)), "observed": None},
    "matrix for other channels": {"matrix": zeros((4, 2))},
    "matrix for other latents": {"matrix": zeros((3, 4))},
    "per-step matrices one too short": {"matrix": zeros((2, 4, 3, 2))},
    "bias for other channels": {"bias": zeros(4)},
    "per-step bias one too short": {"bias": zeros((2, 4, 3))},
    "covariance for other channels": {"covariance": eye(4)},
    "covariance is a vector": {"covariance": zeros(3)},
    "per-step covariances one too short": {"covariance": zeros((2, 4, 3, 3))},
    "variances for other channels": {"covariance": None, "variances": zeros(4)},
    "per-step variances one too short": {"covariance": None, "variances": zeros((2, 4, 3))},
    "observed for other channels": {"observed": np.ones((2, 5, 4), bool)},
    "observed by the step": {"observed": np.ones((2, 5), bool)},
    "observed in numbers": {"observed": zeros((2, 5, 3))},
}
IN_INFORMATION = {
    "precision of another size": {"precision": eye(3)},
    "precision is a vector": {"precision": zeros(2)},
    "per-step precisions one too short": {"precision": zeros((2, 4, 2, 2))},
    "shift for other latents": {"shift": zeros((2, 5, 3))},
    "shift is a vector": {"shift": zeros(2)},
    "constants of another length": {"log_constant": zeros((2, 4))},
    "constants of another batch": {"log_constant": zeros((3, 5))},
}
VALUES = {"length beyond the padded one": np.array([5, 6]), "negative length": np.array([-1, 5]), "empty sequence": np.array([0, 5])}


def ask(call: str, dynamics: dict, nodes: Callable[[], Any], **options: str) -> Any:
    arguments: dict[str, Any] = {**DYNAMICS, **dynamics, **options}
    return CALLS[call](GaussianChain(**arguments, nodes=nodes()))


def observations(changes: dict | None = None) -> Callable[[], Observations]:
    arguments = {name: value for name, value in {**OBSERVATIONS, **(changes or {})}.items() if value is not None}
    return lambda: Observations(**arguments)


def information(changes: dict | None = None) -> Callable[[], Information]:
    return lambda: Information(**{**INFORMATION, **(changes or {})})


@pytest.mark.parametrize("call", CALLS)
def test_good_input_is_accepted(call):
    """Else the refusals below would mean nothing."""
    for nodes in (observations(), information(), observations({"covariance": None, "variances": np.ones(3, np.float32)}), information({"log_constant": None})):
        jax.eval_shape(lambda nodes=nodes: ask(call, {}, nodes))


def complaint(what: str, changes: dict, build: Callable[[], Any]) -> str | None:
    """What is missing from the message: which argument it was, and which shape or type it had."""
    message = refusal(what, build)
    named, value = next((name, value) for name, value in changes.items() if value is not None)
    wrong_type = (named == "lengths" and value.shape == (2,)) or (named == "observed" and value.shape == (2, 5, 3))
    found = str(value.dtype) if wrong_type else str(value.shape)
    if re.search(rf"\b{named}\b", message) and found in message:
        return None
    return f"{what} ({named}, {found}): {message}"


def wrong_calls(call: str) -> list[tuple[str, dict, Callable[[], Any]]]:
    """(what, changes, what raises) for everything above."""
    made = []
    for what, changes in IN_DYNAMICS.items():
        made.append((f"{what}, observations", changes, functools.partial(ask, call, changes, observations())))
        made.append((f"{what}, information", changes, functools.partial(ask, call, changes, information())))
    for table, nodes in ((IN_OBSERVATIONS, observations), (IN_INFORMATION, information)):
        for what, changes in table.items():
            lengths = {"lengths": None} if "values" in changes or "shift" in changes else {}
            made.append((what, changes, functools.partial(ask, call, lengths, nodes(changes))))
    return made


@pytest.mark.parametrize("call", ["log_normaliser", "sample"])
def test_shapes_and_types_are_refused(call, no_compilation):  # noqa: F811
    complaints = [complaint(*wrong) for wrong in wrong_calls(call)]
    assert not any(complaints), "\n".join(filter(None, complaints))


def test_shapes_are_refused_while_tracing(no_compilation):  # noqa: F811
    complaints = []
    for what, changes in IN_DYNAMICS.items():
        if "lengths" not in changes:
            ((name, value),) = changes.items()
            build = functools.partial(jax.eval_shape, lambda value, name=name: ask("smooth", {name: value}, observations()), value)
            complaints.append(complaint(what, changes, build))
    assert not any(complaints), "\n".join(filter(None, complaints))


def test_lengths_out_of_range_are_refused(no_compilation):  # noqa: F811
    for what, lengths in VALUES.items():
        message = refusal(what, lambda lengths=lengths: ask("smooth", {"lengths": lengths}, observations()))
        assert re.search(r"\blengths\b", message), what


def test_unknown_names_are_refused(no_compilation):  # noqa: F811
    with pytest.raises(ValueError, match=r"\bbackend\b.*'gpu'.*sequential"):
        ask("smooth", {}, observations(), backend="gpu")
    with pytest.raises(ValueError, match=r"\bform\b.*'moment'.*square_root"):
        ask("smooth", {}, observations(), form="moment")


def test_noise_is_given_once():
    for changes in ({"variances": np.ones(3, np.float32)}, {"covariance": None}):
        message = refusal("noise", lambda changes=changes: ask("smooth", {}, observations(changes)))
        assert "covariance" in message
        assert "variances" in message


def test_the_message_says_what_was_found_and_what_was_expected():
    with pytest.raises(ValueError, match=r"(?s)\bmatrix\b.*\(2, 5, 2, 2\).*4"):
        ask("smooth", {"matrix": zeros((2, 5, 2, 2))}, observations())


def test_number_of_samples_is_refused_when_it_is_no_count():
    chain = GaussianChain(**DYNAMICS, nodes=observations()())
    wrong: Any
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=r"\bnum_samples\b"):
            chain.sample(KEY, num_samples=wrong)
