"""A start for gates from clusters of the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..emissions.checks import at_least, positive


def kmeans_least_squares(inputs: Any, num_experts: int, losses: Any = None, *, seed: int = 0, noise: float = 1e-3, scale: float = 1.0) -> dict[str, np.ndarray]:
    """Weights and biases of a linear gate, by least squares on the k-means clusters of the inputs (the gate step of MixER 2025).

    Clusters are given to experts so that the sum of median losses is smallest (linear assignment). Meant for gates that select, such as `lg.gates.TopK(1)`,
    whose selection no gradient moves: `lg.fit(model, data, lg.EM(), start={**other.params, "gate.weights": ..., "gate.bias": ...}, seed=0)`. It knows the
    inputs' clusters and nothing else, so it is weak where inputs have none. Runs on the host, outside compiled code.

    Args:
        inputs: [n, M].
        num_experts: K.
        losses: of each row under each expert, [n, K], such as minus log-likelihoods; without them clusters are given out in their own order.
        seed: of k-means and of the noise.
        noise: standard deviation of what is added to the inputs, in units of their spread, so that the least squares have one solution.
        scale: factor of all scores, which regress on ones and zeros.

    Returns:
        "weights" [K, M] and "bias" [K], whose rows sum to zero.

    Raises:
        ValueError: for inputs that are no finite matrix, fewer distinct rows than experts, or losses of another shape.

    Example:
        >>> import numpy as np, latentgate as lg
        >>> x = np.concatenate([np.linspace(0, 1, 20), np.linspace(5, 6, 20)])[:, None]
        >>> start = lg.gates.kmeans_least_squares(x, 2)
        >>> np.unique(np.argmax(x @ start["weights"].T + start["bias"], axis=1), return_counts=True)[1].tolist()
        [20, 20]
    """
    from sklearn.cluster import KMeans

    num_experts = at_least("num_experts", num_experts)
    rows = np.asarray(inputs, float)
    if rows.ndim != 2 or not np.isfinite(rows).all():
        raise ValueError(f"inputs: found an array of shape {rows.shape}, expected finite numbers [row, input].")
    distinct = len(np.unique(rows, axis=0))
    if distinct < num_experts:
        raise ValueError(f"inputs: found {distinct} distinct rows, expected at least one for each of {num_experts} experts.")
    table = None if losses is None else np.asarray(losses, float)
    if table is not None and table.shape != (len(rows), num_experts):
        raise ValueError(f"losses: found shape {table.shape}, expected {(len(rows), num_experts)}: one number a row and expert.")
    rng = np.random.default_rng(seed)
    spread = np.where(rows.std(0) > 0, rows.std(0), 1.0)
    standard = (rows - rows.mean(0)) / spread
    clusters = KMeans(num_experts, n_init=10, random_state=seed)  # pyright: ignore[reportArgumentType]
    labels = clusters.fit_predict(standard)
    experts = np.arange(num_experts)
    if table is not None:
        medians = np.array([np.median(table[labels == cluster], axis=0) for cluster in range(num_experts)])
        experts = linear_sum_assignment(medians)[1]
    design = np.column_stack([standard + positive("noise", noise) * rng.normal(size=standard.shape), np.ones(len(rows))])
    solution = positive("scale", scale) * np.linalg.lstsq(design, np.eye(num_experts)[experts[labels]])[0].T
    weights = solution[:, :-1] / spread
    bias = solution[:, -1] - weights @ rows.mean(0)
    return {"weights": weights - weights.mean(0), "bias": bias - bias.mean()}
