"""Bad input is refused with the name of the argument, before anything is compiled."""

from __future__ import annotations

import functools
import re

import jax
import numpy as np
import pytest

from latentgate import kernels

KEY = jax.random.key(0)
CALLS = {
    "log_normaliser": kernels.log_normaliser,
    "filter": kernels.filter,
    "smooth": kernels.smooth,
    "most_probable_path": kernels.most_probable_path,
    "sample": functools.partial(kernels.sample, KEY),
}
every_kernel = pytest.mark.parametrize("name", CALLS)

zeros = functools.partial(np.zeros, dtype=np.float32)
GOOD = {
    "log_initial": zeros(3),
    "log_transitions": zeros((3, 3)),
    "log_nodes": zeros((2, 5, 3)),
    "lengths": np.array([5, 4]),
}

# What is wrong, the changed arguments, and the argument that the message must name.
SHAPES = {
    "initial law of the wrong number of states": ({"log_initial": zeros(4)}, "log_initial"),
    "initial law is a number": ({"log_initial": zeros(())}, "log_initial"),
    "initial law of another batch": ({"log_initial": zeros((3, 3))}, "log_initial"),
    "transitions not square": ({"log_transitions": zeros((3, 4))}, "log_transitions"),
    "transitions of the wrong number of states": ({"log_transitions": zeros((4, 4))}, "log_transitions"),
    "transitions are a vector": ({"log_transitions": zeros(3)}, "log_transitions"),
    "constant transitions of another batch": ({"log_transitions": zeros((4, 3, 3))}, "log_transitions"),
    "per-step transitions one too long": ({"log_transitions": zeros((2, 5, 3, 3))}, "log_transitions"),
    "per-step transitions one too short": ({"log_transitions": zeros((2, 3, 3, 3))}, "log_transitions"),
    "per-step transitions of another batch": ({"log_transitions": zeros((3, 4, 3, 3))}, "log_transitions"),
    "transitions of too many dimensions": ({"log_transitions": zeros((1, 2, 4, 3, 3))}, "log_transitions"),
    "nodes are a vector": ({"log_nodes": zeros(3), "lengths": None}, "log_nodes"),
    "no steps": ({"log_nodes": zeros((2, 0, 3)), "lengths": None}, "log_nodes"),
    "lengths of another batch": ({"lengths": np.array([5, 4, 3])}, "lengths"),
    "one length for a batch of two dimensions": ({"lengths": np.array([[5, 4]])}, "lengths"),
    "fractional lengths": ({"lengths": np.array([5.0, 4.0], np.float32)}, "lengths"),
    "lengths that are truth values": ({"lengths": np.array([True, True])}, "lengths"),
}
UNBATCHED = {
    "per-step transitions as long as the nodes": ({"log_transitions": zeros((5, 3, 3))}, "log_transitions"),
    "lengths for one sequence": ({"lengths": np.array([5])}, "lengths"),
}
VALUES = {
    "length beyond the padded one": ({"lengths": np.array([5, 6])}, "lengths"),
    "negative length": ({"lengths": np.array([-1, 5])}, "lengths"),
    "empty sequence": ({"lengths": np.array([0, 5])}, "lengths"),
}


def arguments(changes: dict, single: bool = False) -> list:
    good = dict(GOOD)
    if single:
        good |= {"log_nodes": good["log_nodes"][0], "lengths": np.array(5)}
    return list((good | changes).values())


@pytest.fixture
def no_compilation():
    """Fails when something was compiled in the test, the copying of arrays to the device apart."""
    compilations = []

    def listen(event: str, _duration: float, **details) -> None:
        name = details.get("fun_name", "")
        if "backend_compile" in event and name not in ("stage", "jit(stage)"):
            compilations.append((event, name))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield
    jax.monitoring.unregister_event_duration_listener(listen)
    assert compilations == []


@every_kernel
def test_good_input_is_accepted(name):
    """Else the refusals below would mean nothing."""
    jax.eval_shape(CALLS[name], *arguments({}))
    jax.eval_shape(CALLS[name], *arguments({}, single=True))


def refusal(what: str, call, *values) -> str:
    """The message of the ValueError that the call must raise."""
    try:
        call(*values)
    except ValueError as error:
        return str(error)
    pytest.fail(f"accepted: {what}")


@pytest.mark.parametrize("single", [False, True])
@every_kernel
def test_shapes_and_types_are_refused(name, single, no_compilation):
    """Also while tracing, where shapes are known and values are not."""
    traced = functools.partial(jax.eval_shape, CALLS[name])
    for what, (changes, named) in (UNBATCHED if single else SHAPES).items():
        for call in (CALLS[name], traced):
            assert re.search(rf"\b{named}\b", refusal(what, call, *arguments(changes, single))), what


@every_kernel
def test_lengths_out_of_range_are_refused(name, no_compilation):
    for what, (changes, named) in VALUES.items():
        assert re.search(rf"\b{named}\b", refusal(what, CALLS[name], *arguments(changes))), what


@every_kernel
def test_unknown_names_are_refused(name, no_compilation):
    with pytest.raises(ValueError, match=r"\bbackend\b.*'gpu'.*sequential"):
        CALLS[name](*arguments({}), backend="gpu")
    if name != "most_probable_path":
        with pytest.raises(ValueError, match=r"\bsemiring\b.*'tropical'.*scaled"):
            CALLS[name](*arguments({}), semiring="tropical")


def test_the_message_says_what_was_found_and_what_was_expected():
    with pytest.raises(ValueError, match=r"(?s)log_transitions.*\(2, 5, 3, 3\).*4"):
        kernels.smooth(*arguments({"log_transitions": zeros((2, 5, 3, 3))}))


def test_number_of_samples_is_refused_when_it_is_no_count():
    for wrong in (-1, 1.5):
        with pytest.raises(ValueError, match=r"\bnum_samples\b"):
            kernels.sample(KEY, *arguments({}), num_samples=wrong)
