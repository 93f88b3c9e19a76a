"""One gradient of a GLM-HMM beside the same model written in numpyro, and what NUTS makes of it: float64, CPU, one run.

    python benchmarks/sampling.py [--quick] [--json FILE]

A GLM-HMM of behaviour (Bernoulli choices, weights on inputs, Dirichlet rows), in latentgate and as two numpyro programs: the forward algorithm with a
`jax.lax.scan` of log-sum-exp steps, as in numpyro's own examples, and enumeration of the states inside `numpyro.contrib.control_flow.scan`
(needs funsor; left out where it is not installed). All three are given the same unconstrained parameters, and must give the same value and gradient.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import infer
from numpyro.infer.util import initialize_model, potential_energy

jax.config.update("jax_enable_x64", True)

import arviz
from side_by_side import load_average, machine, round_robin, table, write_json

import latentgate as lg
from latentgate.inference import numpyro_model

PACKAGES = ("latentgate", "jax", "numpyro", "numpy")
TARGETS = {3: 2.0, 8: 5.0}


def simulated(num_states: int, sessions: int, trials: int, num_inputs: int) -> tuple[lg.HMM, lg.Sequences, dict[str, jax.Array]]:
    """A GLM-HMM, choices drawn from it, and the parameters they were drawn with."""
    model = lg.HMM(num_states, lg.emissions.BernoulliGLM(num_inputs, bias=False), lg.transitions.Sticky(10.0))
    rng = np.random.default_rng(0)
    truth = {
        "initial.probs": jnp.full(num_states, 1.0 / num_states),
        "transition.probs": jnp.asarray(0.95 * np.eye(num_states) + 0.05 / num_states),
        "emission.weights": jnp.asarray(rng.normal(scale=2.0, size=(num_states, num_inputs))),
    }
    inputs = [rng.normal(size=(trials, num_inputs)) for _ in range(sessions)]
    data, _ = model.simulate(jax.random.key(0), truth, [trials] * sessions, inputs)
    return model, data, truth


def hand_written(num_states: int, stay: float):
    """The priors of the latentgate model, for the programs below."""
    initial = numpyro.sample("initial.probs", dist.Dirichlet(jnp.ones(num_states)))
    transition = numpyro.sample("transition.probs", dist.Dirichlet(jnp.ones((num_states, num_states)) + stay * jnp.eye(num_states)).to_event(1))
    return initial, transition


def forward_program(choices, inputs, num_states: int, stay: float):
    """The forward algorithm in log space, as numpyro's examples write it."""
    initial, transition = hand_written(num_states, stay)
    weights = numpyro.sample("emission.weights", dist.Normal(0.0, 2.0).expand((num_states, inputs.shape[-1])).to_event(2))
    logits = jnp.einsum("sti,ki->tsk", inputs, weights)
    log_nodes = dist.Bernoulli(logits=logits).log_prob(choices.T[..., None])

    def step(log_forward, log_node):
        return jax.nn.logsumexp(log_forward[..., :, None] + jnp.log(transition), axis=-2) + log_node, None

    log_forward, _ = jax.lax.scan(step, jnp.log(initial) + log_nodes[0], log_nodes[1:])
    numpyro.factor("log_likelihood", jax.nn.logsumexp(log_forward, axis=-1).sum())


def enumerated_program(choices, inputs, num_states: int, stay: float):
    """States as discrete sites that numpyro sums out."""
    from numpyro.contrib.control_flow import scan
    from numpyro.ops.indexing import Vindex

    initial, transition = hand_written(num_states, stay)
    weights = numpyro.sample("emission.weights", dist.Normal(0.0, 2.0).expand((num_states, inputs.shape[-1])).to_event(2))

    def step(carry, now):
        state, first = carry
        choice, covariates = now
        with numpyro.plate("sessions", choices.shape[0], dim=-1):
            law = jnp.where(first, initial, Vindex(transition)[state])
            state = numpyro.sample("state", dist.Categorical(probs=law), infer={"enumerate": "parallel"})
            logits = (covariates * Vindex(weights)[state]).sum(-1)
            numpyro.sample("choice", dist.Bernoulli(logits=logits), obs=choice)
        return (state, jnp.array(False)), None

    start = (jnp.zeros(choices.shape[0], int), jnp.array(True))
    scan(step, start, (choices.T, jnp.swapaxes(inputs, 0, 1)))


def potentials(model: lg.HMM, data: lg.Sequences, num_states: int, stay: float):
    """{peer: minus log-joint of unconstrained parameters}, data as arguments would be: constants of nobody's program."""
    choices, inputs = jnp.asarray(data.values[..., 0]), jnp.asarray(data.inputs["inputs"])
    found = {
        "latentgate": (lambda free, data: potential_energy(numpyro_model, (model, data), {}, free), (jax.device_put(data),)),
        "numpyro, forward scan": (lambda free, *arrays: potential_energy(forward_program, (*arrays, num_states, stay), {}, free), (choices, inputs)),
    }
    try:
        import funsor

        funsor.set_backend("jax")
    except ImportError:
        print("funsor is not installed: numpyro's enumeration is left out; pip install 'latentgate[enumeration]'", file=sys.stderr)
        return found

    # numpyro lays the enumerated dimensions out when it initialises a model, not when it is asked for a potential.
    generator = initialize_model(jax.random.key(0), enumerated_program, model_args=(choices, inputs, num_states, stay), dynamic_args=True).potential_fn

    def enumerated(free, *arrays):
        return generator(*arrays, num_states, stay)(free)

    return found | {"numpyro, enumeration": (enumerated, (choices, inputs))}


def compare_gradients(num_states: int, sessions: int, trials: int, num_inputs: int, rounds: int, seconds: float) -> dict:
    model, data, truth = simulated(num_states, sessions, trials, num_inputs)
    from latentgate.models.unconstrained import unconstrain

    free = unconstrain(model.priors(), truth)
    calls, answers = {}, {}
    for peer, (potential, arrays) in potentials(model, data, num_states, 10.0).items():
        gradient = jax.jit(jax.value_and_grad(potential))
        calls[peer] = lambda gradient=gradient, arrays=arrays: jax.block_until_ready(gradient(free, *arrays))
    timings = round_robin(calls, rounds, seconds)
    for peer, call in calls.items():
        answers[peer] = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(call())])
    ours = answers["latentgate"]
    differences = {peer: float(np.abs(answer - ours).max() / np.abs(ours).max()) for peer, answer in answers.items() if peer != "latentgate"}
    median = timings["latentgate"].median
    ratios = {peer: timing.median / median for peer, timing in timings.items() if peer != "latentgate"}
    target = TARGETS.get(num_states)
    return {
        "num_states": num_states,
        "trials": sessions * trials,
        "timings": {peer: timing.to_json() for peer, timing in timings.items()},
        "ratios": ratios,
        "target": target,
        "reached": None if target is None else all(ratio >= target for ratio in ratios.values()),
        "differences": differences,
    }


def sample(num_states: int, sessions: int, trials: int, num_inputs: int, warmup: int, draws: int) -> dict:
    """Wall time of NUTS with two chains, ours and numpyro's driver on the forward scan, per 400 effective draws."""
    model, data, truth = simulated(num_states, sessions, trials, num_inputs)
    rows = {}
    began = time.perf_counter()
    fit = lg.fit(model, data, lg.NUTS(chains=2, warmup=warmup, draws=draws), seed=0, start=truth)
    rows["latentgate"] = (time.perf_counter() - began, fit.posterior.smallest_ess(), int(fit.posterior.sample_stats["n_steps"].sum()))
    kernel = infer.NUTS(forward_program, init_strategy=infer.init_to_value(values=truth))
    sampler = infer.MCMC(kernel, num_warmup=warmup, num_samples=draws, num_chains=2, chain_method="vectorized", progress_bar=False)
    began = time.perf_counter()
    sampler.run(jax.random.key(0), jnp.asarray(data.values[..., 0]), jnp.asarray(data.inputs["inputs"]), num_states, 10.0, extra_fields=("num_steps",))
    jax.block_until_ready(sampler.get_samples())
    seconds = time.perf_counter() - began
    draws_of = {name: np.asarray(value).reshape(2, draws, -1) for name, value in sampler.get_samples(group_by_chain=True).items()}
    smallest = min(float(np.min(arviz.ess(np.moveaxis(value, -1, 0), chain_axis=1, draw_axis=2))) for value in draws_of.values())
    rows["numpyro, forward scan"] = (seconds, smallest, int(np.asarray(sampler.get_extra_fields()["num_steps"]).sum()))
    names = ("seconds", "smallest_ess", "gradients_after_warmup")
    return {peer: {**dict(zip(names, row, strict=True)), "seconds_for_400": row[0] * 400 / row[1]} for peer, row in rows.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; no targets")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args(arguments)
    sessions, trials, rounds, seconds = (4, 20, 2, 0.1) if options.quick else (200, 100, 20, 15.0)
    where = machine(PACKAGES)
    report = {"machine": where, "load_average": load_average(), "gradient": [], "nuts": {}}
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"{where['cpu']}, {where['cores']} cores, load {report['load_average'][0]} at the start; {versions}")
    cells = []
    for num_states in (2,) if options.quick else (3, 8):
        row = compare_gradients(num_states, sessions, trials, 4, rounds, seconds)
        report["gradient"].append(row)
        for peer, timing in row["timings"].items():
            cells.append([
                f"K={num_states}, {row['trials']} trials" if peer == "latentgate" else "",
                peer,
                f"{timing['median_s'] * 1e3:.2f}",
                f"{timing['lower_quartile_s'] * 1e3:.2f}–{timing['upper_quartile_s'] * 1e3:.2f}",
                f"{timing['compilation_s']:.1f}",
                f"{row['ratios'][peer]:.1f}" if peer in row["ratios"] else "1",
                "-" if row["target"] is None or peer == "latentgate" else f"≥ {row['target']:g}",
                f"{row['differences'][peer]:.0e}" if peer in row["differences"] else "-",
            ])  # fmt: skip
    headers = ("", "peer", "median, ms", "quartiles", "compiling, s", "ratio", "target", "difference")
    print(f"\nValue and gradient of the log-joint, {sessions} sessions of {trials} trials, 4 inputs\n\n{table(headers, cells)}", flush=True)
    write_json(options.json, report)
    warmup, draws = (10, 20) if options.quick else (300, 300)
    report["nuts"] = sample(2 if options.quick else 3, sessions, trials, 4, warmup, draws)
    cells = [[peer, *(f"{value:.0f}" for value in row.values())] for peer, row in report["nuts"].items()]
    headers = ("NUTS, 2 vectorised chains", "seconds, compiling included", "smallest ESS", "gradients after warm-up", "seconds for 400 effective draws")
    print(f"\n{table(headers, cells)}")
    write_json(options.json, report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
