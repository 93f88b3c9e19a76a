"""No program of the Gaussian chain calls LAPACK.

On two cores XLA's CPU runtime can wait for ever on two batched LAPACK calls of size 12 or more in one program, so the kernels
have small-matrix code of their own. Looked at in what is lowered (with every operation that XLA turns into such a call) and,
for one program, in what is compiled.
"""

from __future__ import annotations

import re

import jax
import numpy as np
import pytest

from tests.kernels import gaussian_cases as cases

pytestmark = pytest.mark.usefixtures("float64")

SIZE, CHANNELS, STEPS = 12, 13, 5
FORBIDDEN = re.compile(
    r"lapack|blas_|stablehlo\.cholesky|stablehlo\.triangular_solve|custom_call[^\n]*(?:potrf|geqrf|getrf|gesdd|syevd|trsm|Cholesky|Qr|Eigh|LuDecomposition)"
)

QUESTIONS = {
    "log_normaliser": lambda chain: chain.log_normaliser(),
    "filter": lambda chain: chain.filter(),
    "smooth": lambda chain: chain.smooth(),
    "most_probable_path": lambda chain: chain.most_probable_path(),
    "sample": lambda chain: chain.sample(jax.random.key(0), num_samples=2),
}


def batches() -> dict[str, dict[str, np.ndarray]]:
    constant = [cases.random_constant(seed, STEPS, SIZE, CHANNELS) for seed in (1, 2)]
    informed = [cases.information(seed, STEPS, SIZE) for seed in (3, 4)]
    return {
        "constant": cases.stacked(constant),
        "per step": cases.stacked(cases.per_step(cases.with_holes(case, seed)) for seed, case in enumerate(constant)),
        "information": cases.stacked(informed),
    }


def programs(way: tuple[str, str]):
    """(name, function, arguments) of everything that a chain can be asked, and of the gradient, forward and second order."""
    for kind, arguments in batches().items():
        floats, others = cases.split_floats(arguments)

        def value(floats, others=others):
            return cases.chain_of({**floats, **others}, *way).log_normaliser().sum()

        def everything(arguments):
            return [question(cases.chain_of(arguments, *way)) for question in QUESTIONS.values()]

        if kind != "information":
            yield f"{kind}: questions", everything, (arguments,)
        yield f"{kind}: gradient", jax.grad(value), (floats,)
        if kind == "constant":
            yield f"{kind}: forward over reverse", lambda floats, value=value: jax.jvp(jax.grad(value), (floats,), (floats,)), (floats,)


def leaves(result):
    """Whatever a question returns, as arrays."""
    return jax.tree.leaves(result)


@pytest.mark.parametrize("way", [cases.WAYS[2], cases.WAYS[3]], ids="-".join)
def test_lowered_programs_call_no_lapack(way):
    """Each form and each backend once."""
    for name, function, arguments in programs(way):
        text = jax.jit(lambda *arguments, function=function: leaves(function(*arguments))).lower(*arguments).as_text()
        assert "stablehlo" in text
        found = FORBIDDEN.search(text)
        assert found is None, f"{name}: {found and found.group()}"


def test_the_guard_sees_what_it_looks_for():
    """Cholesky, QR, LU, eigenvalues and triangular solves, as JAX lowers them today."""
    matrix = np.eye(SIZE)
    linalg = jax.numpy.linalg
    for call in (linalg.cholesky, linalg.qr, linalg.inv, linalg.eigh, linalg.svd, linalg.slogdet, jax.scipy.linalg.lu_factor):
        assert FORBIDDEN.search(jax.jit(call).lower(matrix).as_text()), call
    solve = jax.jit(lambda a: jax.scipy.linalg.solve_triangular(a, a))
    assert FORBIDDEN.search(solve.lower(matrix).as_text())


def test_compiled_program_calls_no_lapack():
    """The smoother of constant chains in the form that holds the most factorisations."""
    arguments = batches()["constant"]
    program = cases.quick_jit(lambda arguments: leaves(cases.chain_of(arguments, "square_root").smooth()))
    text = program.lower(arguments).compile().as_text()
    assert "HloModule" in text
    # Names of functions and files are in the text too: only what is called counts.
    called = re.findall(r'custom_call_target="([^"]*)"', text)
    assert not [target for target in called if re.search(r"lapack|blas", target)], called
