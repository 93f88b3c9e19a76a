"""Small recordings to decode."""

import numpy as np

A = np.array([[0.9, 0.2], [-0.2, 0.85]])


def session(seed=0, num_bins=64, num_neurons=5, noise=1.0):
    """Activity [time, neuron] and kinematics [time, 2] of a damped rotation, observed linearly."""
    rng = np.random.default_rng(seed)
    z = np.zeros((num_bins + 50, 2))
    for t in range(1, len(z)):
        z[t] = A @ z[t - 1] + rng.normal(size=2) * [0.3, 0.5]
    z = z[50:]
    weights = np.random.default_rng(99).normal(size=(2, num_neurons))
    return z @ weights + noise * rng.normal(size=(num_bins, num_neurons)), z


def recording(lengths=(64, 40, 52), **options):
    pairs = [session(seed, length, **options) for seed, length in enumerate(lengths)]
    return [x for x, _ in pairs], [z for _, z in pairs]
