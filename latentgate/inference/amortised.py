"""Stochastic variational inference in noise space: model and guide are learned together from minibatches of sequences."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from latentgate.data import Sequences
from latentgate.data.sequences import take
from latentgate.models.base import Model, Params
from latentgate.models.noise_space import NoiseSpaceModel
from latentgate.models.unconstrained import constrain, unconstrain

from .blocks import Block, run_in_blocks
from .engine import Engine, Task
from .fit import Fit, RestartRecord
from .outcomes import NonFiniteLikelihoodError, Outcome

# Share of the observations of validation sequences that the guide is not shown (of neurons that it reads), and draws that predict them.
_HIDDEN = 0.25
_PREDICTING_DRAWS = 8
# Of the gradient of the bound per step and sequence, and of the learning rate at the end.
_LARGEST_NORM = 1.0
_LAST_RATE = 0.02
# Epochs of rising learning rate.
_RISE = 3


class AmortisedSVI(Engine):
    """Fits a model whose latents are a function of noise, and the guide that tells the noise from the data, by their evidence lower bound.

    In every epoch each training sequence is seen once. Of every count a coin decides whether the guide is shown it; the likelihood is that of the counts
    that were not shown (coordinated dropout: Keshtkaran & Pandarinath 2019), so that the guide cannot learn to hand each count to its own rate. The
    divergence of the guide from the prior counts in full after a warm-up (or by `divergence_weight`). A share of the sequences is kept for validation: after
    every epoch a quarter of their counts, not shown to the guide, and all of neurons that it never reads, are predicted, and scored in bits per spike (other
    signals in nats each). The parameters kept are those of the best epoch, and training ends when no better one has come for a while.

    The fit holds point estimates. `fit.traces` has `elbo` and `divergence`, nats a step, and `held_out`, of every epoch.

    Args:
        max_epochs: limit.
        batch_size: sequences in a minibatch; all if None, as `lg.guides.PerTrial` needs it.
        learning_rate: of Adam after three epochs; it falls along a cosine to a fiftieth by the limit.
        dropout: probability that a count is not shown to the guide; 0 for the plain bound.
        warm_up: epochs in which the weight of the divergence rises to its last value; 20, or a third of the limit if that is less, if None.
        divergence_weight: that value, in (0, 1]. Below one the guide may say more than the bound allows: predictions of held-out neurons often gain, and what
            is maximised is no bound any more. Choose it by `fit.traces["held_out"]`.
        validation: share of the sequences that is kept for validation; 0 for none.
        patience: epochs without a better one after which training ends.
        draws: paths a sequence at each step.

    Raises:
        ValueError: for options out of range.

    Example:
        >>> import latentgate as lg
        >>> lg.AmortisedSVI(max_epochs=50)
        AmortisedSVI(max_epochs=50, batch_size=64, learning_rate=0.004)
    """

    name = "AmortisedSVI"

    def __init__(
        self,
        *,
        max_epochs: int = 200,
        batch_size: int | None = 64,
        learning_rate: float = 4e-3,
        dropout: float = 0.3,
        warm_up: int | None = None,
        divergence_weight: float = 1.0,
        validation: float = 0.1,
        patience: int = 30,
        draws: int = 1,
    ):
        self.max_epochs, self.draws, self.patience = self.whole("max_epochs", max_epochs), self.whole("draws", draws), self.whole("patience", patience)
        self.batch_size = None if batch_size is None else self.whole("batch_size", batch_size)
        self.warm_up = min(20, self.max_epochs // 3) if warm_up is None else self.whole("warm_up", warm_up, 0)
        if self.warm_up >= self.max_epochs:
            raise ValueError(f"warm_up: found {warm_up}, expected fewer than the {self.max_epochs} epochs there are at most.")
        if not learning_rate > 0:
            raise ValueError(f"learning_rate: found {learning_rate!r}, expected a positive number.")
        if not 0 < divergence_weight <= 1:
            raise ValueError(f"divergence_weight: found {divergence_weight!r}, expected a number above 0, and at most 1, that of the bound.")
        for label, share in (("dropout", dropout), ("validation", validation)):
            if not 0 <= share < 1:
                raise ValueError(f"{label}: found {share!r}, expected a share of at least 0 and below 1.")
        self.learning_rate, self.dropout, self.validation = float(learning_rate), float(dropout), float(validation)
        self.divergence_weight = float(divergence_weight)

    def __repr__(self) -> str:
        return f"AmortisedSVI(max_epochs={self.max_epochs}, batch_size={self.batch_size}, learning_rate={self.learning_rate})"

    def check_model(self, model: Model) -> None:
        """See `Engine.check_model`: models with a guide alone."""
        if not isinstance(model, NoiseSpaceModel):
            raise TypeError(f"engine: found AmortisedSVI with {type(model).__name__}, whose latents are integrated out; use lg.EM(), lg.MAP() or lg.SVI().")

    def fit(self, task: Task) -> Fit:
        """See `Engine.fit`.

        Raises:
            ValueError: if there are too few sequences, or the guide has parameters of every sequence and is to be trained by minibatches.
            NonFiniteLikelihoodError: if the bound is NaN or infinite throughout an epoch.
        """
        model: Any = task.model
        training, validation = self._parts(task)
        batch = min(self.batch_size or training.num_sequences, training.num_sequences)
        if not model.guide.amortised and (validation is not None or batch < training.num_sequences):
            raise ValueError(
                f"guide: found {type(model.guide).__name__}, which has parameters of every sequence; expected AmortisedSVI(batch_size=None, validation=0.0)."
            )
        for_start, for_run = jax.random.split(jax.random.fold_in(jax.random.key(task.seed), 3))
        start = model.initialize(for_start, task.data) if task.start is None else task.start
        run = Training(self, batch, training.num_sequences, training.num_sequences // batch)
        state = run.start(model, start, for_run)
        training, validation = jax.device_put((training, validation))

        def finished(_: Any, blocks: list[Block]) -> bool:
            return self._outcome(blocks) is not None

        def note(_: Any, output: Block) -> str:
            return f"bound {output['elbo'][-1]:.4f} a step" + ("" if validation is None else f", held out {output['held_out'][-1]:.4f}")

        ran = run_in_blocks(
            "AmortisedSVI",
            lambda state, _: epoch(run, model, training, validation, state),
            state,
            self.max_epochs,
            1,
            finished=finished,
            note=note,
            progress=task.progress,
            checkpoint=task.checkpoint.child("amortised"),
        )
        blocks = [{name: value[index : index + 1] for name, value in ran.output.items()} for index in range(len(ran.output["elbo"]))]
        outcome = Outcome.INTERRUPTED if ran.interrupted else self._outcome(blocks) or Outcome.EPOCH_LIMIT
        params = {name: np.asarray(value) for name, value in _natural(model, ran.state.best).items()}
        if not np.isfinite(ran.output["elbo"]).any():
            raise NonFiniteLikelihoodError(len(blocks), None, params, Outcome.NOT_FINITE)
        elbo = ran.output["elbo"] * training.num_steps
        return Fit(
            model=model,
            params=params,
            engine=repr(self),
            seed=task.seed,
            outcome=outcome,
            converged=outcome is Outcome.HELD_OUT_PEAKED,
            restarts=[RestartRecord(params, elbo, elbo, outcome)],
            feature_names=task.data.names,
            data=task.data,
            traces=ran.output,
        )

    def _parts(self, task: Task) -> tuple[Sequences, Sequences | None]:
        data = task.prepared
        if self.validation == 0:
            return data, None
        count = data.num_sequences
        kept = max(round(self.validation * count), 1)
        if kept >= count:
            raise ValueError(f"validation: found a share of {self.validation} of {count} sequences, which leaves none to train on; pass validation=0.0.")
        order = np.random.default_rng(task.seed).permutation(count)
        return take(data, np.sort(order[kept:])), take(data, np.sort(order[:kept]))

    def _outcome(self, blocks: list[Block]) -> Outcome | None:
        if not np.isfinite(blocks[-1]["elbo"]).any():
            return Outcome.NOT_FINITE
        held_out = np.concatenate([block["held_out"] for block in blocks])
        if not np.isfinite(held_out).any():
            return None
        since = len(held_out) - 1 - int(np.nanargmax(held_out))
        return Outcome.HELD_OUT_PEAKED if since >= self.patience else None


class _State(NamedTuple):
    free: Params
    optimiser: Any
    best: Params
    best_score: Array
    epoch: Array
    key: Array


class Training:
    """How a training goes; two that go alike are equal, so that what was compiled for one seed serves the others."""

    def __init__(self, engine: AmortisedSVI, batch: int, num_sequences: int, batches: int):
        self.engine, self.batch, self.num_sequences, self.batches = engine, batch, num_sequences, batches
        rise = min(_RISE, engine.max_epochs - 1) * batches
        schedule = optax.warmup_cosine_decay_schedule(
            0.0, engine.learning_rate, rise, max(engine.max_epochs * batches, rise + 1), engine.learning_rate * _LAST_RATE
        )
        # A minibatch whose gradient is not finite is left out: paths may leave a potential that is too steep for the step.
        self.optimiser = optax.apply_if_finite(optax.chain(optax.clip_by_global_norm(_LARGEST_NORM), optax.adam(schedule)), max_consecutive_errors=10 * batches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Training) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def _identity(self) -> tuple[str, int, int, int]:
        return self.engine.identity, self.batch, self.num_sequences, self.batches

    def start(self, model: NoiseSpaceModel, params: Params, key: Array) -> _State:
        """What the first epoch begins with."""
        # Of a fixed type, not one that JAX would still adapt: the first epoch would be compiled twice.
        free = {name: jnp.asarray(value, value.dtype) for name, value in unconstrain(model.priors(), params).items()}
        return _State(free, self.optimiser.init(free), free, jnp.array(-jnp.inf), jnp.zeros((), jnp.int32), key)

    def loss(self, free: Params, model: NoiseSpaceModel, data: Sequences, key: Array, weight: Array) -> tuple[Array, tuple[Array, Array]]:
        """Minus the log-joint bound per step and sequence, its two parts beside it."""
        for_coins, for_paths = jax.random.split(key)
        params = _natural(model, free)
        values, observed = jnp.asarray(data.values), jnp.asarray(data.observed)
        shown, weights = None, None
        if self.engine.dropout:
            shown = jax.random.bernoulli(for_coins, 1.0 - self.engine.dropout, values.shape)
            # What the guide never reads counts as it is.
            weights = jnp.where(model.guide.readable(), jnp.where(shown, 0.0, 1.0 / self.engine.dropout), 1.0)
            weights = jnp.where(observed, weights, 0.0).astype(values.dtype)
        bound = model.bound(params, data, for_paths, shown=shown, weights=weights, num_draws=self.engine.draws)
        steps = data.lengths.sum()
        likelihood, divergence = bound.log_likelihood.sum() / steps, bound.divergence.sum() / steps
        prior = model.log_prior(params) / (steps * (self.num_sequences / self.batch))
        return -(likelihood - weight * self.engine.divergence_weight * divergence + prior), (likelihood - divergence, divergence)

    def step(self, model: NoiseSpaceModel, training: Sequences, weight: Array, carry: Any, chosen: Array) -> Any:
        """One minibatch: the indices of its sequences are `chosen`."""
        free, state, key = carry
        key, own = jax.random.split(key)
        gradient, parts = jax.grad(self.loss, has_aux=True)(free, model, take(training, chosen), own, weight)
        updates, state = self.optimiser.update(gradient, state, free)
        return (optax.apply_updates(free, updates), state, key), parts


@eqx.filter_jit
def epoch(run: Training, model: NoiseSpaceModel, training: Sequences, validation: Sequences | None, state: _State) -> tuple[_State, dict[str, Array]]:
    """One pass over the training sequences, and the score of the validation sequences after it."""
    key, for_order = jax.random.split(state.key)
    order = jax.random.permutation(for_order, run.num_sequences)[: run.batches * run.batch].reshape(run.batches, run.batch)
    weight = jnp.minimum((state.epoch + 1.0) / (run.engine.warm_up + 1.0), 1.0)
    carry = (state.free, state.optimiser, key)
    (free, optimiser, key), (elbo, divergence) = jax.lax.scan(lambda carry, chosen: run.step(model, training, weight, carry, chosen), carry, order)
    if validation is None:
        score, better = jnp.array(jnp.nan), jnp.array(True)
    else:
        score = held_out_score(model, _natural(model, free), training, validation)
        # Until the warm-up is over the guide is not yet what it will be: scores do not count, and the latest parameters are kept.
        score = jnp.where(weight >= 1.0, score, jnp.nan)
        better = (weight < 1.0) | (score > state.best_score)
    best = jax.tree.map(lambda new, old: jnp.where(better, new, old), free, state.best)
    best_score = jnp.where(score > state.best_score, score, state.best_score)
    traces = {"elbo": _mean_of_finite(elbo), "divergence": _mean_of_finite(divergence), "held_out": score}
    return _State(free, optimiser, best, best_score, state.epoch + 1, key), {name: value[None] for name, value in traces.items()}


def _mean_of_finite(values: Array) -> Array:
    """Of minibatches; one that was left out does not count. NaN where all were."""
    return jnp.nanmean(jnp.where(jnp.isfinite(values), values, jnp.nan))


def held_out_score(model: NoiseSpaceModel, params: Params, training: Sequences, validation: Sequences) -> Array:
    """Gain over constant signals in predicting a quarter of the validation data, the same at every call: see `NoiseSpaceModel.held_out_gain`."""
    for_coins, for_paths = jax.random.split(jax.random.key(0))
    hidden = jax.random.bernoulli(for_coins, _HIDDEN, jnp.shape(validation.values)) | ~model.guide.readable()
    return model.held_out_gain(params, training, validation, hidden, for_paths, _PREDICTING_DRAWS)


def _natural(model: NoiseSpaceModel, free: Params) -> Params:
    return constrain(model.priors(), free)
