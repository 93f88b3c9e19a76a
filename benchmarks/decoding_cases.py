"""Simulated recordings on which the exact posterior is known, and the time of one bin."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from latentgate import filters
from latentgate.decoding import DiscriminativeKalmanFilter, KalmanDecoder, WienerFilter
from latentgate.kernels import DiscreteChain


class Mixture:
    """p(x|z) = Σ_l Normal(x; H_l z, Λ_l) / 2 with H_1 = -H_0, so that E[x|z] = 0; z stationary with S = I.

    f and Q are closed forms: D_l = (H_lᵀ Λ_l⁻¹ H_l + I)⁻¹, V_l = D_l H_lᵀ Λ_l⁻¹, weights Normal(x; 0, H_l H_lᵀ + Λ_l).
    """

    def __init__(self, latent_dim: int, num_neurons: int, seed: int, correlation: float = 0.9):
        rng = np.random.default_rng(seed)
        self.size, self.width = latent_dim, num_neurons
        self.matrix = correlation * np.eye(latent_dim)
        matrix = rng.normal(size=(num_neurons, latent_dim)) / np.sqrt(latent_dim)
        self.loadings = (matrix, -matrix)
        self.variances = (1.0, 5.0)

    def simulate(self, num_bins: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        z = np.zeros((num_bins, self.size))
        z[0] = rng.normal(size=self.size)
        noise = np.sqrt(1 - self.matrix[0, 0] ** 2)
        for t in range(1, num_bins):
            z[t] = self.matrix @ z[t - 1] + noise * rng.normal(size=self.size)
        which = rng.integers(2, size=num_bins)
        x = np.empty((num_bins, self.width))
        for component in (0, 1):
            rows = which == component
            x[rows] = z[rows] @ self.loadings[component].T + np.sqrt(self.variances[component]) * rng.normal(size=(int(rows.sum()), self.width))
        return x, z

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f(x) [bin, d] and Q(x) [bin, d, d]."""
        means, spreads, logs = [], [], []
        for matrix, variance in zip(self.loadings, self.variances, strict=True):
            spread = np.linalg.inv(matrix.T @ matrix / variance + np.eye(self.size))
            mean = x @ matrix @ spread / variance
            # |H Hᵀ + λ I| and its quadratic form, in d dimensions.
            logs.append(
                -0.5 * ((x**2).sum(1) / variance - ((x @ matrix / variance) * mean).sum(1) + self.width * np.log(variance) - np.linalg.slogdet(spread)[1])
            )
            means.append(mean)
            spreads.append(spread)
        weights = np.exp(logs - np.max(logs, axis=0))
        weights /= weights.sum(0)
        f = np.einsum("lt,lti->ti", weights, means)
        second = np.einsum("lt,ltij->tij", weights, [spread + mean[:, :, None] * mean[:, None, :] for mean, spread in zip(means, spreads, strict=True)])
        return f, second - f[:, :, None] * f[:, None, :]

    def log_likelihood(self, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """Of each bin at each point of a grid of one-dimensional latents, [bin, point]."""
        logs = []
        for matrix, variance in zip(self.loadings, self.variances, strict=True):
            squares = (x**2).sum(1)[:, None] - 2 * (x @ matrix) * grid + (matrix**2).sum() * grid**2
            logs.append(-0.5 * (squares / variance + self.width * np.log(variance)))
        return np.logaddexp(*logs)


class Known(RegressorMixin, BaseEstimator):
    """f in closed form, for the filter to use without learning."""

    def __init__(self, mixture: Mixture | None = None):
        self.mixture = mixture

    def fit(self, X: np.ndarray, y: np.ndarray) -> Known:
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        assert self.mixture is not None
        return self.mixture.moments(X)[0]


def known_filter(mixture: Mixture, rule: str, x: np.ndarray, z: np.ndarray) -> DiscriminativeKalmanFilter:
    """The discriminative filter with closed-form f, Q, A and S."""
    return DiscriminativeKalmanFilter(
        Known(mixture),
        lambda rows: mixture.moments(rows)[1],
        rule=rule,
        dynamics_matrix=mixture.matrix,
        stationary_covariance=np.eye(mixture.size),
        centred=False,
    ).fit(x, z)


def exact_posterior(mixture: Mixture, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Filtered law on a grid of one-dimensional latents, exact but for the grid, [bin, point]."""
    slope = mixture.matrix[0, 0]
    transition = np.exp(-0.5 * (grid[None] - slope * grid[:, None]) ** 2 / (1 - slope**2))
    initial = np.exp(-0.5 * grid**2)
    chain = DiscreteChain(np.log(initial / initial.sum()), np.log(transition / transition.sum(1, keepdims=True)), mixture.log_likelihood(x, grid))
    return np.asarray(chain.filter().probs, float)


def gaussian_baselines(mixture: Mixture, x: np.ndarray) -> dict[str, np.ndarray]:
    """EKF and UKF with the true moments of p(x|z): mean zero whatever z, covariance averaged over z."""
    second = np.mean(
        [matrix @ matrix.T + variance * np.eye(mixture.width) for matrix, variance in zip(mixture.loadings, mixture.variances, strict=True)], axis=0
    )
    noise = np.eye(mixture.size) - mixture.matrix @ mixture.matrix.T
    matrix = jnp.asarray(mixture.matrix)
    width = mixture.width
    model = filters.NonlinearModel(
        jnp.zeros(mixture.size),
        jnp.eye(mixture.size),
        lambda z: matrix @ z,
        noise,
        emission=lambda z: jnp.zeros(width) * z[0],
        emission_covariance=second,
    )
    return {
        "EKF": np.asarray(filters.filter(filters.Extended(), model, x).means),
        "UKF": np.asarray(filters.filter(filters.Unscented(), model, x).means),
    }


def simulated(quick: bool = False, seeds: int = 5) -> str:
    """The two claims of the paper on the observation mixture, as markdown."""
    num_bins = 400 if quick else 5000
    widths = (3, 30) if quick else (3, 10, 32, 100, 316)
    grid = np.linspace(-5, 5, 401)
    lines = [
        "One latent, closed-form f and Q: distance of the filter to the exact posterior, means over bins; errors are root mean squares",
        "",
        "| neurons | exact error | filter's error | mean abs. difference of means | total variation | learned on other bins | EKF | UKF |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with jax.enable_x64(True):
        for width in widths:
            mixture = Mixture(1, width, seed=0)
            x, z = mixture.simulate(num_bins, seed=1)
            new_x, new_z = mixture.simulate(num_bins, seed=2)
            learned = DiscriminativeKalmanFilter("neural-network", "kernel").fit(x, z).predict(new_x)
            others = " | ".join(f"{_rms(new_z - one):.4f}" for one in (learned, *gaussian_baselines(mixture, new_x).values()))
            exact = exact_posterior(mixture, x, grid)
            means, covariances = known_filter(mixture, "clip", x, z).predict_distribution(x)
            ours = np.exp(-0.5 * (grid - means) ** 2 / covariances[:, 0])
            ours /= ours.sum(1, keepdims=True)
            exact_mean = exact @ grid
            lines.append(
                f"| {width} | {_rms(z[:, 0] - exact_mean):.4f} | {_rms(z - means):.4f} | {np.abs(exact_mean - means[:, 0]).mean():.4f} "
                f"| {0.5 * np.abs(exact - ours).sum(1).mean():.4f} | {others} |"
            )
        lines += [
            "",
            "Ten latents, root mean square error (1: predicting zero); the first five with closed-form f and Q, EKF and UKF with the true moments of x given z",
            "",
            "| neurons | unfiltered f | clip | paper | robust | code | Kalman | EKF | UKF |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for width in widths:
            mixture = Mixture(10, width, seed=0)
            x, z = mixture.simulate(num_bins, seed=1)
            new_x, new_z = mixture.simulate(num_bins, seed=2)
            found = {"unfiltered": mixture.moments(new_x)[0]}
            for rule in ("clip", "paper", "robust", "code"):
                found[rule] = known_filter(mixture, rule, x, z).predict(new_x)
            found["Kalman"] = KalmanDecoder().fit(x, z).predict(new_x)
            found |= gaussian_baselines(mixture, new_x)
            lines.append(f"| {width} | " + " | ".join(f"{_rms(new_z - one):.3f}" for one in found.values()) + " |")
    return "\n".join(lines)


def _rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def latency(quick: bool = False, seeds: int = 5) -> str:
    """Time of `step` and growth of memory, 100 neurons and 10 latents, as markdown."""
    num_neurons, num_latents, num_bins = 100, 10, 200 if quick else 100_000
    rng = np.random.default_rng(0)
    z = np.zeros((5000, num_latents))
    for t in range(1, len(z)):
        z[t] = 0.95 * z[t - 1] + 0.3 * rng.normal(size=num_latents)
    x = rng.poisson(np.exp(0.3 * z @ rng.normal(size=(num_latents, num_neurons)))).astype(float)
    decoders = {
        "KalmanDecoder": KalmanDecoder(),
        "WienerFilter, 5 lags": WienerFilter(5),
        "DKF, linear": DiscriminativeKalmanFilter("linear"),
        "DKF, linear, 4 lags, condition": DiscriminativeKalmanFilter("linear", lags=4, past="condition"),
        "DKF, neural network": DiscriminativeKalmanFilter("neural-network"),
        "DKF, Nadaraya-Watson on 5 000 bins": DiscriminativeKalmanFilter("nadaraya-watson"),
        "DKF, Gaussian process on 5 000 bins": DiscriminativeKalmanFilter("gaussian-process"),
    }
    if quick:
        decoders = {name: decoders[name] for name in ("KalmanDecoder", "DKF, linear")}
    lines = [
        f"`step`, {num_neurons} neurons, {num_latents} latents, wall clock, load average {_load()} on {os.cpu_count()} cores",
        "",
        "| decoder | bins | median, ms | 99.9th percentile, ms | longest, ms | traced memory grown, bytes | resident memory grown, kB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, decoder in decoders.items():
        # Those that keep all training bins take their time with each.
        many = min(num_bins, 10_000) if "on 5 000" in name else num_bins
        rows = x[: 400 if quick else len(x)]
        decoder.fit(rows, z[: len(rows)])
        for row in rows[:100]:
            decoder.step(row)
        durations = np.empty(many)
        resident = _resident()
        for index in range(many):
            row = rows[index % len(rows)]
            begin = time.perf_counter_ns()
            decoder.step(row)
            durations[index] = time.perf_counter_ns() - begin
        resident = _resident() - resident
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for index in range(min(num_bins, 2000)):
            decoder.step(rows[index % len(rows)])
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        median, tail = np.percentile(durations, (50, 99.9)) / 1e6
        lines.append(f"| {name} | {many} | {median:.3f} | {tail:.3f} | {durations.max() / 1e6:.2f} | {grown} | {resident} |")
    return "\n".join(lines)


def _load() -> str:
    return ", ".join(f"{one:.2f}" for one in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def _resident() -> int:
    """Resident memory of this process, kB; 0 where the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
