"""The two real recordings of the decoding benchmark."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from threadpoolctl import threadpool_limits

import latentgate as lg
from latentgate import filters
from latentgate.decoding import DiscriminativeKalmanFilter, KalmanDecoder, WienerFilter
from latentgate.decoding.cross_fitting import contiguous_blocks, held_out_predictions
from latentgate.decoding.stationary import estimate
from latentgate.kernels import DiscreteChain
from latentgate.metrics import interval_coverage, mean_absolute_angular_error, normalised_root_mean_square_error

LEVELS = (0.5, 0.8, 0.9, 0.95)
REGRESSORS = {"linear": "linear", "NW": "nadaraya-watson", "NN": "neural-network", "GP": "gaussian-process"}
# Change of the angular error against the Kalman filter, and of the normalised root mean square error, run 1.
PUBLISHED = {
    "DKF-NW": ("-15 %", "-21 %"),
    "DKF-NN": ("-7 %", "-19 %"),
    "DKF-GP": ("-11 %", "-21 %"),
    "NW unfiltered": ("-9 %", ""),
    "NN unfiltered": ("-3 %", ""),
    "GP unfiltered": ("-5 %", ""),
    "EKF": ("+4 %", "+2 %"),
    "UKF": ("0 %", "+2 %"),
    "Kalman": ("0.889", "0.765"),
}


def flint(quick: bool = False, seeds: int = 5) -> str:
    """The published table and what lagged bins add, as markdown."""
    data = lg.load("monkey_reach_flint", download=False)
    neural, velocity = np.asarray(data.values[0], float), np.asarray(data.inputs["velocity"][0], float)
    size = 800 if quick else 5000
    x, z, new_x, new_z = neural[:size], velocity[:size], neural[5000:6000], velocity[5000:6000]
    seeds = 1 if quick else seeds
    rows: dict[str, list[tuple[float, float]]] = {}
    coverage: dict[str, Any] = {}
    seconds: dict[str, float] = {}

    def note(name: str, predicted: np.ndarray) -> None:
        rows.setdefault(name, []).append((normalised_root_mean_square_error(new_z, predicted), mean_absolute_angular_error(new_z, predicted)))

    def decode(name: str, decoder: Any, unfiltered: str | None = None) -> None:
        begin = time.perf_counter()
        decoder.fit(x, z)
        seconds.setdefault(name, time.perf_counter() - begin)
        note(name, decoder.predict(new_x))
        coverage.setdefault(name, covered(decoder, [new_x], [new_z]))
        if unfiltered:
            note(unfiltered, decoder.predict_unfiltered(new_x))

    def discriminative(seed: int, regressor: str, **options: Any) -> DiscriminativeKalmanFilter:
        return DiscriminativeKalmanFilter(regressor, centred=False, random_state=seed, **options)

    decode("Kalman", KalmanDecoder(centred=False))
    for short in ("NW", "NN", "GP"):
        for seed in range(1 if short == "NW" else seeds):
            decode(f"DKF-{short}", discriminative(seed, REGRESSORS[short]), f"{short} unfiltered")
    for seed in range(seeds):
        for name, predicted in network_filters(x, z, new_x, seed).items():
            note(name, predicted)
    decode("DKF-NW, kernel Q", discriminative(0, "nadaraya-watson", covariance="kernel"))
    decode("DKF-NW, kernel Q, rule of the published code", discriminative(0, "nadaraya-watson", covariance="kernel", rule="code"))
    decode("Kalman, centred", KalmanDecoder())
    for lags in (4,) if quick else (5, 12):
        decode(f"Wiener, {lags} lags", WienerFilter(lags))
    for lags in (4,) if quick else (4, 6):
        for short in ("NW",) if quick else ("NW", "NN", "GP"):
            for seed in range(seeds if short == "NN" else 1):
                options = {"lags": lags}
                decode(f"DKF-{short}, {lags} lags, count", discriminative(seed, REGRESSORS[short], **options), f"{short} unfiltered, {lags} lags")
                decode(f"DKF-{short}, {lags} lags, condition", discriminative(seed, REGRESSORS[short], past="condition", **options))
    base = np.mean(rows["Kalman"], axis=0)
    levels = ", ".join(f"{100 * level:g}" for level in LEVELS)
    lines = [
        f"Plain Nadaraya-Watson on four bins, to beat: 0.519, 0.695. Coverage at {levels} %: calibrated intervals / normal intervals of the posterior.",
        "",
        "| decoder | nRMSE | angle, rad | change of nRMSE | published | change of angle | published | coverage, % | seeds | fit, s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, found in rows.items():
        error, angle = np.mean(found, axis=0)
        angle_published, error_published = PUBLISHED.get(name, ("", ""))
        fit_time = f"{seconds[name]:.1f}" if name in seconds else ""
        lines.append(
            f"| {name} | {error:.3f} | {angle:.3f} | {100 * (error / base[0] - 1):+.1f} % | {error_published} "
            f"| {100 * (angle / base[1] - 1):+.1f} % | {angle_published} | {coverage.get(name, '')} | {len(found)} | {fit_time} |"
        )
    return "\n".join(lines)


def covered(decoder: Any, neural: list[np.ndarray], kinematics: list[np.ndarray], dimension: int | None = None) -> str:
    """Shares of the bins in the calibrated intervals, and in those of the posterior, mean over dimensions or of one, in per cent."""
    truth = np.concatenate(kinematics)
    chosen = slice(None) if dimension is None else slice(dimension, dimension + 1)
    calibrated, normal = [], []
    means, covariances = (np.concatenate(one) for one in decoder.predict_distribution(neural))
    for level in LEVELS:
        lower, upper = (np.concatenate(one) for one in decoder.predict_interval(neural, level))
        calibrated.append(((lower <= truth) & (truth <= upper))[:, chosen].mean())
        normal.append(np.atleast_1d(interval_coverage(truth, means, covariances, level))[chosen].mean())
    return ", ".join(f"{100 * share:.0f}" for share in calibrated) + " / " + ", ".join(f"{100 * share:.0f}" for share in normal)


def network_filters(x: np.ndarray, z: np.ndarray, new_x: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """EKF and UKF with a network of ten units from velocity to activity, and the covariance of its held-out residuals."""
    dynamics = estimate([z], centred=False)
    u = dynamics.whiten(z)
    network = MLPRegressor(hidden_layer_sizes=(10,), activation="tanh", solver="lbfgs", alpha=1.0, max_iter=5000, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(u, x)
        residuals = x - held_out_predictions(network, u, x, contiguous_blocks(np.zeros(len(x), int), 5, 0))
    (first, second), (bias, offset) = network.coefs_, network.intercepts_
    first, second, bias, offset = (jnp.asarray(one) for one in (first, second, bias, offset))
    size = z.shape[1]
    matrix = jnp.asarray(dynamics.whitened_matrix)
    model = filters.NonlinearModel(
        jnp.zeros(size),
        jnp.eye(size),
        lambda latent: matrix @ latent,
        dynamics.whitened_noise,
        emission=lambda latent: jnp.tanh(latent @ first + bias) @ second + offset,
        emission_covariance=residuals.T @ residuals / len(residuals),
    )
    strategies = {"EKF": filters.Extended(), "UKF": filters.Unscented()}
    return {name: dynamics.restore(np.asarray(filters.filter(strategy, model, new_x).means, float)) for name, strategy in strategies.items()}


def rat(quick: bool = False, seeds: int = 5) -> str:
    """Position of the running rat from square roots of counts, laps held out in blocks, as markdown."""
    data = lg.load("rat_linear_track", download=False)
    lengths = np.asarray(data.lengths)
    counts = [np.asarray(data.values[index, :length], float) for index, length in enumerate(lengths)]
    roots = [np.sqrt(one) for one in counts]
    motion = [
        np.concatenate([np.asarray(data.inputs[name][index, :length], float) for name in ("position", "velocity")], axis=1)
        for index, length in enumerate(lengths)
    ]
    blocks = np.array_split(np.arange(len(lengths)), 2 if quick else 5)
    lines = [
        "Square roots of counts in bins of 100 ms; position and velocity decoded together, scored on position. Coverage as above.",
        "",
        "| decoder | RMSE, pixels | median error, pixels | R² | unfiltered: RMSE | median | R² | coverage, % |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def decode(name: str, make: Callable[[], Any], neural: Sequence[np.ndarray] = roots) -> None:
        filtered, unfiltered, truth, shares = [], [], [], []
        for block in blocks:
            kept = np.setdiff1d(np.arange(len(lengths)), block)
            decoder = make().fit([neural[index] for index in kept], [motion[index] for index in kept])
            held_out, goals = [neural[index] for index in block], [motion[index] for index in block]
            filtered += decoder.predict(held_out)
            truth += goals
            if hasattr(decoder, "predict_unfiltered"):
                unfiltered += decoder.predict_unfiltered(held_out)
            if hasattr(decoder, "predict_interval"):
                parts = covered(decoder, held_out, goals, dimension=0).split(" / ")
                shares.append([[float(share) for share in part.split(", ")] for part in parts])
        shown = " / ".join(", ".join(f"{share:.0f}" for share in part) for part in np.mean(shares, axis=0)) if shares else ""
        plain = _scores(unfiltered, truth) if unfiltered else ("", "", "")
        lines.append(f"| {name} | " + " | ".join((*_scores(filtered, truth), *plain, shown)) + " |")

    decode("Kalman", lambda: KalmanDecoder(constant_neurons="drop"))
    decode("Kalman on counts", lambda: KalmanDecoder(constant_neurons="drop"), counts)
    decode("ridge", lambda: WienerFilter(1, constant_neurons="drop"))
    for lags in (5,) if quick else (5, 10):
        decode(f"Wiener, {lags} lags", lambda lags=lags: WienerFilter(lags, constant_neurons="drop"))
    decode("HMM place cells, on counts", PlaceCells, counts)
    for short in ("linear",) if quick else REGRESSORS:
        for label, options in (
            (f"DKF-{short}", {"covariance": "kernel"}),
            (f"DKF-{short}, constant Q", {}),
            (f"DKF-{short}, 5 lags, count", {"lags": 5}),
            (f"DKF-{short}, 5 lags, condition", {"lags": 5, "past": "condition"}),
        ):
            decode(label, lambda options=options, short=short: DiscriminativeKalmanFilter(REGRESSORS[short], constant_neurons="drop", **options))
    return "\n".join(lines)


def _scores(predicted: list[np.ndarray], truth: list[np.ndarray]) -> tuple[str, str, str]:
    errors = np.concatenate([one[:, 0] - goal[:, 0] for one, goal in zip(predicted, truth, strict=True)])
    spread = np.concatenate([goal[:, 0] for goal in truth]).var()
    return f"{np.sqrt((errors**2).mean()):.1f}", f"{np.median(np.abs(errors)):.1f}", f"{1 - (errors**2).mean() / spread:.3f}"


class PlaceCells:
    """Poisson place cells and a hidden Markov chain over places and running directions, both counted from training laps, with normal smoothing.

    Args:
        num_places: bins along the track.
        smoothing: standard deviation of the smoothing, in bins.
    """

    def __init__(self, num_places: int = 40, smoothing: float = 1.5):
        self.num_places, self.smoothing = num_places, smoothing

    def fit(self, neural: list[np.ndarray], kinematics: list[np.ndarray]) -> PlaceCells:
        positions = np.concatenate(kinematics)[:, 0]
        self.edges = np.linspace(positions.min(), positions.max(), self.num_places + 1)
        self.centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        states = [self._states(one) for one in kinematics]
        count = 2 * self.num_places
        place = np.arange(self.num_places)
        near = np.exp(-0.5 * ((place[:, None] - place) / self.smoothing) ** 2)
        near /= near.sum(1, keepdims=True)
        near = np.kron(np.eye(2), near)
        occupancy = near.T @ np.bincount(np.concatenate(states), minlength=count)
        spikes = np.zeros((count, neural[0].shape[1]))
        np.add.at(spikes, np.concatenate(states), np.concatenate(neural))
        # Half a spike in the whole recording where there is none, so that a spike stays possible.
        overall = np.maximum(np.concatenate(neural).sum(0), 0.5) / len(positions)
        self.rates = (near.T @ spikes + overall) / (occupancy[:, None] + 1)
        transitions = np.zeros((count, count))
        for one in states:
            np.add.at(transitions, (one[:-1], one[1:]), 1.0)
        transitions = near.T @ transitions @ near + 1 / count
        self.log_transitions = np.log(transitions / transitions.sum(1, keepdims=True))
        starts = near.T @ np.bincount([one[0] for one in states], minlength=count) + 1 / count
        self.log_initial = np.log(starts / starts.sum())
        return self

    def _states(self, motion: np.ndarray) -> np.ndarray:
        place = np.clip(np.searchsorted(self.edges, motion[:, 0], side="right") - 1, 0, self.num_places - 1)
        return place + self.num_places * (motion[:, 1] > 0)

    def predict(self, neural: list[np.ndarray]) -> list[np.ndarray]:
        """Posterior means of the position given the counts up to each bin."""
        results = []
        longest = 128
        with jax.enable_x64(True):
            for counts in neural:
                nodes = counts @ np.log(self.rates).T - self.rates.sum(1)
                padded = np.concatenate([nodes, np.zeros((longest - len(nodes), nodes.shape[1]))])
                chain = DiscreteChain(self.log_initial, self.log_transitions, padded, lengths=np.int32(len(nodes)))
                probs = np.asarray(chain.filter().probs)[: len(nodes)]
                results.append((probs @ np.tile(self.centres, 2))[:, None])
        return results
