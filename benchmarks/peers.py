"""The same work in latentgate, dynamax and hmmlearn, as callables without arguments, with the numbers they must agree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from dynamax.hidden_markov_model import PoissonHMM, hmm_filter, hmm_smoother
from hmmlearn import _hmmc, hmm  # pyright: ignore[reportAttributeAccessIssue] - compiled, without stubs

import latentgate as lg
from latentgate import kernels

Call = Callable[[], Any]
# Flat but proper: 1e-12 of a bin of exposure moves a rate by 1e-16 of itself, and a log-prior stays finite.
FLAT_RATE_PRIOR = (1.0, 1e-12)


class Chain(NamedTuple):
    """A discrete chain as every peer wants it, float64."""

    initial: np.ndarray
    transitions: np.ndarray
    log_nodes: np.ndarray


def random_chain(num_states: int, num_steps: int, seed: int = 0) -> Chain:
    """A chain that mostly stays, with nodes that leave the state uncertain."""
    rng = np.random.default_rng(seed)
    transitions = 0.9 * np.eye(num_states) + 0.1 * rng.dirichlet(np.ones(num_states), num_states)
    return Chain(rng.dirichlet(np.ones(num_states)), transitions, rng.normal(scale=2.0, size=(num_steps, num_states)))


def smoothers(chain: Chain) -> dict[str, Call]:
    """{peer: call -> (log-normaliser, marginals [T, K], expected transitions [K, K], ...)} in probability space.

    "hmmlearn C++" is its three compiled calls and the exponential alone; "hmmlearn" adds the marginals, which it makes with NumPy.
    """
    logs, probs = _on_device(chain)
    inside = jax.jit(kernels.smooth)

    def ours() -> tuple:
        return tuple(kernels.smooth(*logs))

    def ours_in_jit() -> tuple:
        return tuple(inside(*logs))

    def dynamax() -> tuple:
        posterior = hmm_smoother(*probs)
        # The whole posterior is what the compiled function returns, so nothing of it can have been left out.
        return posterior.marginal_loglik, posterior.smoothed_probs, posterior.trans_probs

    def hmmlearn_compiled() -> tuple:
        likelihoods = np.exp(chain.log_nodes)
        log_normaliser, ahead, scales = _hmmc.forward_scaling(chain.initial, chain.transitions, likelihoods)
        behind = _hmmc.backward_scaling(chain.initial, chain.transitions, likelihoods, scales)
        return log_normaliser, ahead, behind, _hmmc.compute_scaling_xi_sum(ahead, chain.transitions, behind, likelihoods)

    def hmmlearn() -> tuple:
        log_normaliser, ahead, behind, expected = hmmlearn_compiled()
        marginals = ahead * behind
        marginals /= marginals.sum(-1, keepdims=True)
        return log_normaliser, marginals, expected

    return {"latentgate": ours, "latentgate in jit": ours_in_jit, "dynamax": dynamax, "hmmlearn": hmmlearn, "hmmlearn C++": hmmlearn_compiled}


def log_smoothers(chain: Chain) -> dict[str, Call]:
    """As `smoothers`, with sums of logarithms throughout; dynamax has no such form."""
    logs, _ = _on_device(chain)

    def ours() -> tuple:
        return tuple(kernels.smooth(*logs, semiring="log"))

    def hmmlearn_compiled() -> tuple:
        log_normaliser, ahead = _hmmc.forward_log(chain.initial, chain.transitions, chain.log_nodes)
        behind = _hmmc.backward_log(chain.initial, chain.transitions, chain.log_nodes)
        log_expected = _hmmc.compute_log_xi_sum(ahead, chain.transitions, behind, chain.log_nodes)
        return log_normaliser, ahead, behind, np.exp(log_expected)

    def hmmlearn() -> tuple:
        log_normaliser, ahead, behind, expected = hmmlearn_compiled()
        marginals = ahead + behind
        marginals -= marginals.max(-1, keepdims=True)
        marginals = np.exp(marginals)
        marginals /= marginals.sum(-1, keepdims=True)
        return log_normaliser, marginals, expected

    return {"latentgate": ours, "hmmlearn": hmmlearn, "hmmlearn C++": hmmlearn_compiled}


def gradients(chain: Chain) -> dict[str, Call]:
    """{peer: call -> (log-normaliser, its gradient in log-initial, log-transitions and log-nodes)}."""
    logs, _ = _on_device(chain)

    def filtered(log_initial: jax.Array, log_transitions: jax.Array, log_nodes: jax.Array) -> jax.Array:
        return jnp.asarray(hmm_filter(jnp.exp(log_initial), jnp.exp(log_transitions), log_nodes).marginal_loglik)

    ours = jax.jit(jax.value_and_grad(kernels.log_normaliser, argnums=(0, 1, 2)))
    dynamax = jax.jit(jax.value_and_grad(filtered, argnums=(0, 1, 2)))
    return {"latentgate": lambda: ours(*logs), "dynamax": lambda: dynamax(*logs)}


class Counts(NamedTuple):
    """Spike counts [sequence, time, neuron] and one starting point for all peers."""

    values: np.ndarray
    initial: np.ndarray
    transitions: np.ndarray
    rates: np.ndarray


def simulated_counts(num_states: int, num_neurons: int, num_sequences: int, num_steps: int, seed: int = 0) -> Counts:
    """A Poisson HMM whose states overlap, so that EM still climbs by a tenth of a nat at iteration 50."""
    rng = np.random.default_rng(seed)
    moves = np.cumsum(0.95 * np.eye(num_states) + 0.05 / num_states, -1)
    rates = 0.3 * np.exp(0.25 * rng.normal(size=(num_states, num_neurons)))
    states = np.empty((num_sequences, num_steps), int)
    states[:, 0] = rng.integers(num_states, size=num_sequences)
    for t in range(1, num_steps):
        passed = rng.random((num_sequences, 1)) > moves[states[:, t - 1]]
        states[:, t] = np.minimum(passed.sum(-1), num_states - 1)
    values = rng.poisson(rates[states])
    start = values.mean((0, 1)) * np.exp(0.3 * rng.normal(size=(num_states, num_neurons)))
    return Counts(values, np.full(num_states, 1 / num_states), 0.9 * np.eye(num_states) + 0.1 / num_states, start)


class Fitter(NamedTuple):
    """A peer's EM: `call` does the work that is timed, `history` reads the log-likelihood at each iteration from its result."""

    call: Call
    history: Callable[[Any], np.ndarray]


def expectation_maximisers(counts: Counts, num_iterations: int) -> dict[str, Fitter]:
    """EM of every peer under flat priors from one starting point, without early stop.

    dynamax's `fit_em` compiles at every call, with the data as a constant; "dynamax kept" compiles it once, with the data as an
    argument. Build them anew before a first call that is to be timed.
    """
    num_sequences, num_steps, num_neurons = counts.values.shape
    num_states = len(counts.initial)
    data = lg.Sequences.from_arrays(list(counts.values.astype(float)))
    start = {"initial.probs": counts.initial, "transition.probs": counts.transitions, "emission.rates": counts.rates}
    model = lg.HMM(num_states, lg.emissions.Poisson(num_neurons, prior=dist.Gamma(*FLAT_RATE_PRIOR)))

    def ours() -> lg.Fit:
        engine = lg.EM(max_iterations=num_iterations, tolerance=0)
        return lg.fit(model, data, engine, seed=0, start=start, progress=False)

    peer = PoissonHMM(num_states, num_neurons, 1.0, 1.0, 0.0, *FLAT_RATE_PRIOR)
    params, properties = peer.initialize(
        initial_probs=jnp.asarray(counts.initial), transition_matrix=jnp.asarray(counts.transitions), emission_rates=jnp.asarray(counts.rates)
    )
    emissions = jnp.asarray(counts.values, float)

    def dynamax(params: Any, emissions: jax.Array) -> tuple:
        return peer.fit_em(params, properties, emissions, num_iters=num_iterations, verbose=False)

    def without_prior(fitted: tuple) -> np.ndarray:
        # The flat log-prior is the same number at every iteration.
        return np.asarray(fitted[1] - peer.log_prior(fitted[0]))

    kept = jax.jit(dynamax)
    stacked, lengths = counts.values.reshape(-1, num_neurons), [num_steps] * num_sequences

    def hmmlearn() -> hmm.PoissonHMM:
        theirs = hmm.PoissonHMM(num_states, n_iter=num_iterations, tol=-np.inf, implementation="scaling", init_params="")
        theirs.startprob_, theirs.transmat_, theirs.lambdas_ = counts.initial, counts.transitions, counts.rates
        return theirs.fit(stacked, lengths)

    return {
        "latentgate": Fitter(ours, lambda fit: np.asarray(fit.log_likelihood_history)),
        "dynamax": Fitter(lambda: dynamax(params, emissions), without_prior),
        "dynamax kept": Fitter(lambda: kept(params, emissions), without_prior),
        "hmmlearn": Fitter(hmmlearn, lambda fit: np.asarray(fit.monitor_.history)),
    }


def _on_device(chain: Chain) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    initial, transitions, log_nodes = map(jnp.asarray, chain)
    return (jnp.log(initial), jnp.log(transitions), log_nodes), (initial, transitions, log_nodes)
