"""What NUTS and SVI share: where they start, and the fit that holds their draws."""

from __future__ import annotations

import jax.numpy as jnp

from latentgate.models.base import Params

from .em import EM
from .engine import Engine, Task
from .fit import Fit, RestartRecord
from .numpyro_model import require_density
from .outcomes import Outcome
from .posterior import Posterior
from .restarts import RestartEngine


class PosteriorEngine(Engine):
    """An engine of `lg.fit` whose answer is draws of the parameters.

    Args:
        start_from: the engine that finds where to start; EM with a few restarts if None.

    Raises:
        TypeError: if `start_from` is no such engine.
    """

    def __init__(self, start_from: RestartEngine | None):
        self.start_from = EM(restarts=4, max_iterations=100, tolerance=1e-6) if start_from is None else start_from
        if not isinstance(self.start_from, RestartEngine):
            raise TypeError(f"start_from: found {start_from!r}, expected lg.EM(...) or lg.MAP(...).")

    def starting_fit(self, task: Task) -> tuple[Params, list[RestartRecord], int]:
        """Parameters to start near, the restarts that led there, and which of them was best.

        Raises:
            ValueError: if the model has no posterior density.
        """
        if task.start is not None:
            centre, records, best = task.start, [], 0
        else:
            fit = self.start_from.fit(task)
            centre = {name: jnp.asarray(value) for name, value in fit.params.items()}
            records, best = fit.restarts, fit.best_restart
        require_density(task.model, centre, self.name)
        return centre, records, best

    def posterior_fit(self, task: Task, posterior: Posterior, outcome: Outcome, converged: bool, restarts: list[RestartRecord], best_restart: int) -> Fit:
        """The fit that holds these draws; its parameters are their means."""
        return Fit(
            model=task.model,
            params=posterior.mean(),
            engine=repr(self),
            seed=task.seed,
            outcome=outcome,
            converged=converged,
            restarts=restarts,
            best_restart=best_restart,
            feature_names=task.data.names,
            data=task.data,
            posterior=posterior,
        )
