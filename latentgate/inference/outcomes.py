"""How a fit ended, in words."""

from __future__ import annotations

import enum


class Outcome(enum.Enum):
    """How one restart, or a whole fit, ended; the value is the sentence to show."""

    RUNNING = "The fit has not ended yet."
    CONVERGED = "Converged: the log-joint no longer rises by more than the tolerance."
    ITERATION_LIMIT = "Stopped at the iteration limit before the log-joint settled; raise max_iterations or tolerance."
    INTERRUPTED = "Interrupted; the parameters are those of the best iteration so far."
    STATE_EMPTIED = "Ended, but at least one state is hardly ever visited (less than one step in all); try fewer states or more restarts."
    UNDERFLOW = 'The scaled recursion underflowed: the chain is near-deterministic. Build the model with semiring="log".'
    NOT_FINITE = "The log-joint became NaN or infinite; the parameters are the last good ones."
    DECREASED = "The log-joint fell by more than rounding, which must not happen; the parameters are those before the fall."
    GATE_SEPARATED = (
        "Ended, but the gate has no maximum: the inputs of experts do not overlap, and the likelihood rises for ever as the gate steepens. "
        "Its slope and standard errors mean nothing, only the place of the change does; give the gate a weight_scale (a penalty), or a bound."
    )
    VARIANCE_COLLAPSED = (
        "Ended, but an expert has collapsed onto as few rows as it has coefficients, where the likelihood has no bound; "
        "give the experts a variance_prior or a min_scale, use fewer experts, or more restarts."
    )
    SAMPLED = "Sampled: the chains agree (R-hat of at most 1.01), and no transition diverged."
    CHAINS_DISAGREE = "Sampled, but the chains do not agree yet (R-hat above 1.01, or fewer than two chains); raise warmup, draws or chains."
    DIVERGED = "Sampled, but some transitions diverged, so parts of the posterior may be missing; raise target_accept or tighten the priors."
    ELBO_SETTLED = "The evidence lower bound has settled; the posterior is an approximation of the guide's form."
    EPOCH_LIMIT = "Ended at the limit of epochs; the parameters are those of the epoch that predicted validation data best, or of the last if there are none."
    HELD_OUT_PEAKED = "Ended: data held out for validation have not been predicted better for a while; the parameters are those of the best epoch."
    POOR_GUIDE = "The evidence lower bound has settled, but the guide fits the posterior badly (Pareto k above 0.7); try a richer guide, or lg.NUTS."

    @property
    def failed(self) -> bool:
        """Whether the restart broke down."""
        return self in (Outcome.UNDERFLOW, Outcome.NOT_FINITE, Outcome.DECREASED)


# Compiled code carries outcomes as integers.
OUTCOMES = tuple(Outcome)
CODES = {outcome: code for code, outcome in enumerate(OUTCOMES)}


class NonFiniteLikelihoodError(ArithmeticError):
    """Every restart of a fit broke down.

    Attributes:
        iteration: at which the last surviving restart broke down.
        sequence: index of the first sequence whose log-likelihood was not finite, or None.
        params: the last good parameters of that restart, or its starting values if there were none.
        outcome: why.
    """

    def __init__(self, iteration: int, sequence: int | None, params: dict, outcome: Outcome):
        self.iteration, self.sequence, self.params, self.outcome = iteration, sequence, params, outcome
        where = "" if sequence is None else f", first in sequence {sequence}"
        super().__init__(
            f"No restart has a finite log-joint (iteration {iteration}{where}). {outcome.value} The last good parameters are in this error's `params`."
        )
