"""Potentials of regressions on overlapping windows, given the part of the window that was there before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Conditioned(NamedTuple):
    """What a prediction f of the latent z_t from a window says beyond the window without its newest bin, and what that part says of the step to z_t.

    With g the predictions of z_t and z_{t-1} from that part,

        f_t = matrix z_t + past g_t + bias + noise,    z_t = step_matrix z_{t-1} + step_past g_t + step_bias + Normal(0, step_noise).

    Attributes:
        matrix, past, bias: [d, d], [d, 2 d], [d].
        step_matrix, step_past, step_bias, step_noise: [d, d], [d, 2 d], [d], [d, d].
    """

    matrix: np.ndarray
    past: np.ndarray
    bias: np.ndarray
    step_matrix: np.ndarray
    step_past: np.ndarray
    step_bias: np.ndarray
    step_noise: np.ndarray

    def residuals(self, predictions: np.ndarray, pasts: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """Noise of f, [step, d]."""
        return predictions - latents @ self.matrix.T - pasts @ self.past.T - self.bias

    def nodes(self, predictions: np.ndarray, pasts: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Precision [step, d, d] or [1, d, d] and shift [step, d], for noise [step, d, d] or [1, d, d]."""
        weights = np.swapaxes(np.linalg.solve(noise, np.broadcast_to(self.matrix, noise.shape)), -1, -2)
        precision = weights @ self.matrix
        told = predictions - pasts @ self.past.T - self.bias
        return 0.5 * (precision + np.swapaxes(precision, -1, -2)), (weights @ told[..., None])[..., 0]

    def step_bias_of(self, pasts: np.ndarray) -> np.ndarray:
        """Bias of the step to z_t, [step, d]."""
        return pasts @ self.step_past.T + self.step_bias


def estimate(predictions: np.ndarray, pasts: np.ndarray, latents: np.ndarray, before: np.ndarray) -> Conditioned:
    """Both regressions by least squares.

    Args:
        predictions: f_t, held out, [step, d].
        pasts: g_t, held out, [step, 2 d].
        latents: z_t, [step, d].
        before: z_{t-1}, [step, d].

    Raises:
        ValueError: for too few steps.
    """
    size = latents.shape[1]
    if len(latents) <= 4 * size:
        raise ValueError(f"neural: found {len(latents)} complete windows with a bin before them, expected more than {4 * size}.")
    seen = _least_squares(np.concatenate([latents, pasts], axis=1), predictions)
    step = _least_squares(np.concatenate([before, pasts], axis=1), latents)
    errors = latents - before @ step[:, :size].T - pasts @ step[:, size:-1].T - step[:, -1]
    return Conditioned(seen[:, :size], seen[:, size:-1], seen[:, -1], step[:, :size], step[:, size:-1], step[:, -1], errors.T @ errors / len(errors))


def _least_squares(design: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Coefficients, the constant last, [target, feature + 1]."""
    return np.linalg.lstsq(np.concatenate([design, np.ones((len(design), 1))], axis=1), targets, rcond=None)[0].T
