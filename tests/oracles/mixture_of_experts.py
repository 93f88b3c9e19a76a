"""Slow, textbook answers for mixtures of experts, in NumPy and SciPy; no code shared with the models.

* `mixture` mixes given gate log-weights and expert log-densities, one row after the other;
* `maxima` climbs the observed log-likelihood from many starts (BFGS, then Newton), and lists where that ends;
* `em_iteration` is one EM iteration whose gate step is solved to the end.

K experts, M inputs, n rows. A gate is `weights` [K, M] and `bias` [K] of a linear score; adding the same row to all of it changes nothing, and what is
maximised here has its last row zero. Experts are lines with normal errors: `weights` [K, M], `bias` [K], standard deviations `scale` [K].
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats


@dataclasses.dataclass(frozen=True)
class Parameters:
    """A softmax gate with linear scores and K linear normal experts.

    Attributes:
        gate_weights: [K, M].
        gate_bias: [K].
        weights: [K, M].
        bias: [K].
        scale: [K] standard deviations.
    """

    gate_weights: np.ndarray
    gate_bias: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    scale: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """K, M."""
        return np.shape(self.weights)

    def last_row_zero(self) -> Parameters:
        """The same model with the last row of the gate zero."""
        return dataclasses.replace(self, gate_weights=self.gate_weights - self.gate_weights[-1], gate_bias=self.gate_bias - self.gate_bias[-1])

    def sum_to_zero(self) -> Parameters:
        """The same model with rows of the gate that sum to zero."""
        return dataclasses.replace(self, gate_weights=self.gate_weights - self.gate_weights.mean(0), gate_bias=self.gate_bias - self.gate_bias.mean())

    def permuted(self, order) -> Parameters:
        """The same model with its experts in another order."""
        return Parameters(*(getattr(self, field.name)[np.asarray(order)] for field in dataclasses.fields(self)))

    def vector(self) -> np.ndarray:
        """[(K - 1)(M + 1) + K (M + 2)] free parameters: gate rows but the last (weights, bias), expert rows (weights, bias), log scales."""
        free = self.last_row_zero()
        gate = np.column_stack([free.gate_weights, free.gate_bias])[:-1]
        return np.concatenate([gate.ravel(), np.column_stack([free.weights, free.bias]).ravel(), np.log(free.scale)])

    @classmethod
    def from_vector(cls, vector: np.ndarray, num_experts: int) -> Parameters:
        """The inverse of `vector`."""
        num_columns = (len(vector) - num_experts) // (2 * num_experts - 1)
        gate, lines, log_scale = np.split(vector, np.cumsum([(num_experts - 1) * num_columns, num_experts * num_columns]))
        gate = np.vstack([gate.reshape(num_experts - 1, num_columns), np.zeros(num_columns)])
        lines = lines.reshape(num_experts, num_columns)
        return cls(gate[:, :-1], gate[:, -1], lines[:, :-1], lines[:, -1], np.exp(log_scale))


def softmax_log_weights(gate_weights: np.ndarray, gate_bias: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """[n, K] logarithms of exp(W_k · x + b_k) / Σ_l exp(W_l · x + b_l), one row after the other."""
    rows = []
    for x in np.asarray(inputs, float):
        scores = np.array([np.dot(w, x) + b for w, b in zip(gate_weights, gate_bias, strict=True)])
        rows.append(scores - scipy.special.logsumexp(scores))
    return np.array(rows)


def linear_log_densities(weights: np.ndarray, bias: np.ndarray, scale: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """[n, K] log-densities of outputs [n] under every expert; zero where an output is missing (NaN)."""
    rows = []
    for x, y in zip(np.asarray(inputs, float), np.asarray(outputs, float), strict=True):
        means = np.array([np.dot(a, x) + b for a, b in zip(weights, bias, strict=True)])
        rows.append(np.zeros(len(means)) if np.isnan(y) else scipy.stats.norm.logpdf(y, means, scale))
    return np.array(rows)


def mixture(log_weights: np.ndarray, log_densities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-density [n] and responsibilities [n, K] of a mixture with gate log-weights [n, K] and expert log-densities [n, K]; both may hold -inf.

    A row that no expert allows has the log-density -inf and responsibilities NaN: the condition of these has probability zero.
    """
    log_density, responsibilities = [], []
    for weights, densities in zip(log_weights, log_densities, strict=True):
        # An expert whose weight is nought is out, whatever its density says.
        joint = np.array([-np.inf if w == -np.inf else w + f for w, f in zip(weights, densities, strict=True)])
        total = scipy.special.logsumexp(joint)
        log_density.append(total)
        responsibilities.append(np.exp(joint - total) if total > -np.inf else np.full(len(joint), np.nan))
    return np.array(log_density), np.array(responsibilities)


def softmax_mixture(parameters: Parameters, inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-density [n] and responsibilities [n, K] of a softmax-gated mixture of linear normal experts."""
    log_weights = softmax_log_weights(parameters.gate_weights, parameters.gate_bias, inputs)
    return mixture(log_weights, linear_log_densities(parameters.weights, parameters.bias, parameters.scale, inputs, outputs))


def value_and_gradient(vector: np.ndarray, num_experts: int, inputs: np.ndarray, outputs: np.ndarray) -> tuple[float, np.ndarray]:
    """Log-likelihood of complete data, and its gradient in the free parameters of `Parameters.vector`, written out."""
    parameters = Parameters.from_vector(vector, num_experts)
    design = np.column_stack([inputs, np.ones(len(outputs))])
    scores = inputs @ parameters.gate_weights.T + parameters.gate_bias
    log_weights = scores - scipy.special.logsumexp(scores, axis=1, keepdims=True)
    residuals = outputs[:, None] - inputs @ parameters.weights.T - parameters.bias
    log_joint = log_weights + scipy.stats.norm.logpdf(residuals, scale=parameters.scale)
    log_density = scipy.special.logsumexp(log_joint, axis=1, keepdims=True)
    responsibilities = np.exp(log_joint - log_density)
    gate = (responsibilities - np.exp(log_weights))[:, :-1].T @ design
    lines = (responsibilities * residuals / parameters.scale**2).T @ design
    log_scale = (responsibilities * ((residuals / parameters.scale) ** 2 - 1)).sum(0)
    return float(log_density.sum()), np.concatenate([gate.ravel(), lines.ravel(), log_scale])


def hessian(vector: np.ndarray, num_experts: int, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """[P, P] second derivatives of the log-likelihood: differences of `value_and_gradient`, of fourth order."""
    columns = []
    for index in range(len(vector)):
        step = 1e-4 * (1 + abs(vector[index])) * np.eye(len(vector))[index]
        slopes = [value_and_gradient(vector + shift * step, num_experts, inputs, outputs)[1] for shift in (-2, -1, 1, 2)]
        columns.append((slopes[0] - 8 * slopes[1] + 8 * slopes[2] - slopes[3]) / (12 * step[index]))
    found = np.array(columns)
    return (found + found.T) / 2


@dataclasses.dataclass(frozen=True)
class Maximum:
    """A local maximum of the log-likelihood.

    Attributes:
        parameters: experts in increasing order of their standard deviations; last gate row zero.
        log_likelihood: there.
        gradient: [P] there.
        hessian: [P, P] there, negative definite.
        starts_there: how many of the starts ended here.
    """

    parameters: Parameters
    log_likelihood: float
    gradient: np.ndarray
    hessian: np.ndarray
    starts_there: int

    @property
    def standard_errors(self) -> np.ndarray:
        """[P] of the free parameters, from the inverse of the observed information."""
        return np.sqrt(np.diag(np.linalg.inv(-self.hessian)))


def maxima(inputs: np.ndarray, outputs: np.ndarray, num_experts: int = 2, starts: int = 40, seed: int = 0, share: float = 0.03) -> list[Maximum]:
    """The proper local maxima of the log-likelihood that the starts lead to, the highest first.

    The likelihood has no bound where an expert passes through as many points as it has coefficients, so an end at which some expert holds less than `share`
    of the rows is left out. Log-likelihoods that agree to 1e-6 are taken for the same maximum.

    Args:
        inputs: [n, M].
        outputs: [n].
        num_experts: K.
        starts: random starts; each is a regression to a random subset of rows for every expert, with a gate that is nearly flat.
        seed: of the starts.
        share: see above.
    """
    inputs, outputs = np.asarray(inputs, float), np.asarray(outputs, float)
    rng = np.random.default_rng(seed)
    found: list[tuple[float, np.ndarray]] = []
    for _ in range(starts):
        end = _polished(_climbed(_start(rng, num_experts, inputs, outputs), num_experts, inputs, outputs), num_experts, inputs, outputs)
        if end is None:
            continue
        log_density, responsibilities = softmax_mixture(Parameters.from_vector(end, num_experts), inputs, outputs)
        if responsibilities.mean(0).min() >= share:
            found.append((float(log_density.sum()), end))
    listed: list[Maximum] = []
    for value, end in sorted(found, key=lambda pair: -pair[0]):
        if listed and listed[-1].log_likelihood - value < 1e-6:
            listed[-1] = dataclasses.replace(listed[-1], starts_there=listed[-1].starts_there + 1)
            continue
        parameters = Parameters.from_vector(end, num_experts)
        parameters = parameters.permuted(np.argsort(parameters.scale)).last_row_zero()
        _, gradient = value_and_gradient(parameters.vector(), num_experts, inputs, outputs)
        listed.append(Maximum(parameters, value, gradient, hessian(parameters.vector(), num_experts, inputs, outputs), 1))
    return listed


def _start(rng: np.random.Generator, num_experts: int, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    design = np.column_stack([inputs, np.ones(len(outputs))])
    lines = []
    for _ in range(num_experts):
        rows = rng.choice(len(outputs), max(design.shape[1] + 1, len(outputs) // 10), replace=False)
        lines.append(np.linalg.lstsq(design[rows], outputs[rows])[0])
    gate = 0.1 * rng.normal(size=(num_experts - 1) * design.shape[1])
    log_scale = np.log(outputs.std() * rng.uniform(0.05, 1.0, num_experts))
    return np.concatenate([gate, np.ravel(lines), log_scale])


def _climbed(start: np.ndarray, num_experts: int, inputs: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    def loss(vector):
        # A step so long that scales overflow is refused by the line search.
        with np.errstate(all="ignore"):
            value, gradient = value_and_gradient(vector, num_experts, inputs, outputs)
        return (-value, -gradient) if np.isfinite(value) and np.isfinite(gradient).all() else (np.inf, np.zeros_like(vector))

    return scipy.optimize.minimize(loss, start, jac=True, method="BFGS", options={"maxiter": 2000, "gtol": 1e-6}).x


def _polished(vector: np.ndarray, num_experts: int, inputs: np.ndarray, outputs: np.ndarray, steps: int = 50) -> np.ndarray | None:
    """Newton steps, halved where they do not climb; None unless they end where the gradient is zero and the Hessian negative definite."""
    for _ in range(steps):
        with np.errstate(all="ignore"):
            value, gradient = value_and_gradient(vector, num_experts, inputs, outputs)
            curvature = hessian(vector, num_experts, inputs, outputs)
        if not (np.isfinite(gradient).all() and np.isfinite(curvature).all()) or np.linalg.eigvalsh(curvature).max() >= 0:
            return None
        direction = np.linalg.solve(-curvature, gradient)
        # Half the Newton decrement is what the quadratic model still promises, free of the units of the parameters.
        if gradient @ direction < 1e-18 * (1 + abs(value)):
            return vector
        size = 1.0
        while value_and_gradient(vector + size * direction, num_experts, inputs, outputs)[0] < value and size > 1e-9:
            size /= 2
        if size <= 1e-9:
            return vector if gradient @ direction < 1e-12 * (1 + abs(value)) else None
        vector = vector + size * direction
    return None


def em_iteration(parameters: Parameters, inputs: np.ndarray, outputs: np.ndarray) -> Parameters:
    """One EM iteration with flat priors: weighted least squares for every expert, and for the gate the logit of all responsibilities solved to the end."""
    _, responsibilities = softmax_mixture(parameters, inputs, outputs)
    weights, bias, scale = weighted_lines(responsibilities, inputs, outputs)
    return Parameters(*fractional_logit(responsibilities, inputs), weights, bias, scale)


def weighted_lines(responsibilities: np.ndarray, inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights [K, M], bias [K] and standard deviations [K] (weighted maximum likelihood) of one line a column of `responsibilities` [n, K]."""
    design = np.column_stack([inputs, np.ones(len(outputs))])
    lines, scales = [], []
    for column in np.asarray(responsibilities).T:
        root = np.sqrt(column)
        line = np.linalg.lstsq(design * root[:, None], outputs * root)[0]
        lines.append(line)
        scales.append(np.sqrt(np.sum(column * (outputs - design @ line) ** 2) / column.sum()))
    return np.array(lines)[:, :-1], np.array(lines)[:, -1], np.array(scales)


def fractional_logit(targets: np.ndarray, inputs: np.ndarray, row_weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Gate weights [K, M] and bias [K], last row zero, that maximise Σ_i w_i Σ_k targets_ik log softmax_k(W x_i + b).

    Args:
        targets: [n, K], rows that sum to one.
        inputs: [n, M].
        row_weights: [n], ones by default.

    Raises:
        RuntimeError: where there is no maximum to be reached: the targets are separated by the inputs.
    """
    design = np.column_stack([inputs, np.ones(len(inputs))])
    num_free, num_columns = targets.shape[1] - 1, design.shape[1]
    weights = np.ones(len(inputs)) if row_weights is None else np.asarray(row_weights)

    def log_probs(free):
        scores = np.column_stack([design @ free.reshape(num_free, num_columns).T, np.zeros(len(design))])
        return scores - scipy.special.logsumexp(scores, axis=1, keepdims=True)

    def loss(free):
        found = log_probs(free)
        gradient = ((np.exp(found) - targets) * weights[:, None])[:, :-1].T @ design
        return -np.sum(weights[:, None] * targets * found), gradient.ravel()

    def curvature(free):
        probs = np.exp(log_probs(free))[:, :-1]
        blocks = [[(design * (weights * probs[:, k] * ((k == j) - probs[:, j]))[:, None]).T @ design for j in range(num_free)] for k in range(num_free)]
        return np.block(blocks)

    free = scipy.optimize.minimize(loss, np.zeros(num_free * num_columns), jac=True, method="BFGS").x
    for _ in range(100):
        value, gradient = loss(free)
        direction = -np.linalg.solve(curvature(free), gradient)
        if -gradient @ direction < 1e-24 * (1 + abs(value)):
            rows = np.vstack([free.reshape(num_free, num_columns), np.zeros(num_columns)])
            return rows[:, :-1], rows[:, -1]
        size = 1.0
        while loss(free + size * direction)[0] > value + 1e-15 * abs(value) and size > 1e-9:
            size /= 2
        free = free + size * direction
    raise RuntimeError("the gate's step did not end: are the responsibilities separated by the inputs?")
