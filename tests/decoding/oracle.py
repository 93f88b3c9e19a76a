"""The published equations, one step after the other, with inverses written out."""

import numpy as np
from numpy.linalg import eigvals, inv


def discriminative_filter(f, Q, A, Gamma, S, rule):
    """Means and covariances of Burkhart et al. 2020, notes of the issue 1.2, with the four rules; f [time, d], Q [time, d, d]."""
    means, covariances = [], []
    for t in range(len(f)):
        Qt, ft = Q[t], f[t]
        if t == 0 and rule in ("code", "robust"):
            mean, Sigma = ft, Qt
        else:
            prior = np.zeros(len(S)) if t == 0 else A @ means[-1]
            M = S if t == 0 else A @ covariances[-1] @ A.T + Gamma
            known = inv(S)
            if rule == "robust":
                known = np.zeros_like(S)
            elif rule == "clip":
                Qt = _clipped(Qt, S)
            elif not (eigvals(inv(Qt) - inv(S)).real > 0).all():
                if rule == "paper":
                    known = np.zeros_like(S)
                else:
                    Qt = inv(inv(Qt) + inv(S))
            Sigma = inv(inv(Qt) + inv(M) - known)
            mean = Sigma @ (inv(Qt) @ ft + inv(M) @ prior)
        means.append(mean)
        covariances.append(Sigma)
    return np.array(means), np.array(covariances)


def _clipped(Q, S):
    """Q v = lambda S v by the unsymmetric eigenproblem of inv(S) Q; lambda <- min(lambda, 1)."""
    values, vectors = np.linalg.eig(inv(S) @ Q)
    return (S @ (vectors * np.minimum(values.real, 1.0)) @ inv(vectors)).real


def conditioned_posterior(f, g, first_covariance, noise, link):
    """Joint normal law of all latents from p(z_0 | W_0), p(f_t | z_t, g_t) and p(z_t | z_{t-1}, g_t), dense; whitened coordinates."""
    T, d = f.shape
    J, h = np.zeros((T * d, T * d)), np.zeros(T * d)
    J[:d, :d] += inv(first_covariance)
    h[:d] += inv(first_covariance) @ f[0]
    for t in range(1, T):
        now, before = slice(t * d, (t + 1) * d), slice((t - 1) * d, t * d)
        told = f[t] - link.past @ g[t - 1] - link.bias
        J[now, now] += link.matrix.T @ inv(noise) @ link.matrix
        h[now] += link.matrix.T @ inv(noise) @ told
        both = np.zeros((d, T * d))
        both[:, now], both[:, before] = np.eye(d), -link.step_matrix
        J += both.T @ inv(link.step_noise) @ both
        h += both.T @ inv(link.step_noise) @ (link.step_past @ g[t - 1] + link.step_bias)
    covariance = inv(J)
    return (covariance @ h).reshape(T, d), covariance
