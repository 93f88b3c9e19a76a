"""One category at each step, with one probability for each state and category."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from latentgate.data import Sequences
from latentgate.kernels import safe_log

from ..base import Params, Prior, with_shape
from ..distributions import dirichlet_mode, numbers_of
from ..observations import check_categories
from .base import Emission
from .checks import at_least, prior_or


class Categorical(Emission):
    """One column of categories 0, 1, ..., C - 1: P(y = c) = probs[z, c].

    Parameters: `probs` [state, category].

    Args:
        num_categories: C, at least 2.
        prior: of each row; Dirichlet priors (event shape [C]) have a closed-form M-step, any other prior on the simplex a numerical one.
            Dirichlet(1.1, ..., 1.1) if None: a tenth of an observation of each category, which keeps probabilities positive.

    Raises:
        ValueError: for fewer than two categories.

    Example:
        >>> import latentgate as lg
        >>> lg.emissions.Categorical(5).num_features
        1
    """

    num_categories: int
    prior: dist.Distribution

    def __init__(self, num_categories: int, prior: dist.Distribution | None = None):
        self.num_categories = at_least("num_categories", num_categories, 2)
        self.prior = prior_or("prior", prior, dist.Dirichlet(np.full(self.num_categories, 1.1)))

    @property
    def num_features(self) -> int:
        """One."""
        return 1

    def priors(self, num_states: int) -> dict[str, Prior]:
        """See `Part.priors`."""
        return {"probs": with_shape(self.prior, (num_states, self.num_categories), "probs")}

    def dims(self) -> dict[str, tuple[str, ...]]:
        """See `Part.dims`."""
        return {"probs": ("state", "category")}

    def check(self, data: Sequences) -> None:
        """Integers in range only."""
        super().check(data)
        check_categories("Categorical", self.num_categories, data)

    def initialize(self, key: Array, data: Sequences, num_states: int) -> Params:
        """Overall frequencies, scattered by about one in the logarithm."""
        counts = self._indicators(data).sum((0, 1))
        scatter = jax.random.normal(key, (num_states, self.num_categories))
        return {"probs": jax.nn.softmax(jnp.log(counts + 0.5) + scatter, axis=-1)}

    def _indicators(self, data: Sequences) -> Array:
        """One-hot observations [sequence, time, category]; all zero where missing."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        return jnp.where(observed, values == jnp.arange(self.num_categories), False).astype(values.dtype)

    def log_likelihood(self, params: Params, data: Sequences) -> Array:
        """See `Emission.log_likelihood`."""
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        chosen = safe_log(params["probs"]).T[values[..., 0].astype(jnp.int32)]
        return jnp.where(observed, chosen, 0.0)

    def m_step(self, params: Params, data: Sequences, weights: Array) -> Params:
        """Posterior mode of each row under a Dirichlet prior; without weight and with a flat prior it keeps what it had."""
        if not isinstance(self.prior, dist.Dirichlet):
            return super().m_step(params, data, weights)
        counts = jnp.einsum("stk,stc->kc", weights, self._indicators(data))
        return {"probs": dirichlet_mode(counts, numbers_of(self.prior, "concentration")[0], params["probs"])}

    def sample(self, key: Array, params: Params, state: Array, inputs: dict[str, Array], recent: Array) -> Array:
        """See `Emission.sample`."""
        probs = params["probs"][state]
        return jax.random.categorical(key, safe_log(probs))[None].astype(probs.dtype)
