"""A fit in a process of its own, which may be told to kill itself: `python long_run.py ENGINE FOLDER OUTPUT [WRITE]`.

With WRITE, SIGKILL comes at that write to the checkpoint: in the middle of it, half of the bytes written, or, for an odd number, after it and before it
takes the place of what was there.
"""

import os
import signal
import sys
from pathlib import Path

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import latentgate as lg  # noqa: E402 - the precision is set before anything is computed

START = lg.EM(max_iterations=6, block=3)
ENGINES = {
    "EM": lg.EM(restarts=2, max_iterations=24, tolerance=0.0, block=4),
    "MAP": lg.MAP(restarts=2, max_iterations=24, tolerance=0.0, block=4),
    "SVI": lg.SVI(max_iterations=60, batch_size=2, window=30, block=10, draws=20, start_from=START),
    "NUTS": lg.NUTS(chains=2, warmup=20, draws=20, block=5, start_from=START),
}


def kill_at(write: int) -> None:
    """Replaces the last step of a write to the checkpoint by the death of this process."""
    writes = 0
    replace = os.replace

    def dying_replace(source, target):
        nonlocal writes
        writes += 1
        if writes == write:
            if write % 2 == 0:
                content = Path(source).read_bytes()
                Path(source).write_bytes(content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = dying_replace


def main(engine: str, folder: str, output: str, write: str = "0") -> None:
    data = lg.simulators.simulate_poisson_hmm(3, num_states=2, num_neurons=3, num_steps=30, num_sequences=4).data
    kill_at(int(write))
    fit = lg.fit(lg.HMM(2, lg.emissions.Poisson(3)), data, ENGINES[engine], seed=5, checkpoint=folder or None)
    answer = {**fit.params, "log_joint": fit.log_joint_history}
    if fit.posterior is not None:
        answer |= {f"draws.{name}": value for name, value in fit.posterior.draws.items()} | {"elbo": fit.posterior.elbo}
    np.savez(output, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])
