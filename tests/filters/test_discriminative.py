"""The discriminative update after any prediction: nonlinear dynamics z' = A(sin z + z) + noise, seen through a mixture of two linear observations.

A small case of the comparison in the thesis of the discriminative Kalman filter (Burkhart 2019, nonlinear dynamics), with the observation model of its code
for which f and Q have closed forms. There, as here, either prediction with the discriminative update comes near the particle filter and leaves the extended
and unscented filters, which see only the mean of the mixture, behind.
"""

import jax
import jax.numpy as jnp
import numpy as np

import latentgate.filters as filters

D, N, STEPS = 2, 20, 400
A = np.array([[0.45, -0.15], [-0.15, 0.45]])
SHARES, NOISES = np.array([0.7, 0.3]), np.array([1.0, 2.0])


def dynamics(z):
    return jnp.asarray(A) @ (jnp.sin(z) + z)


def test_discriminative_update_after_any_prediction():
    generator = np.random.default_rng(0)
    loadings = generator.normal(size=(N, D)) / np.sqrt(D)
    matrices = np.stack([loadings, -loadings])
    noise = 0.5 * np.eye(D)
    latents = np.zeros((STEPS + 5000, D))
    for t in range(1, len(latents)):
        latents[t] = A @ (np.sin(latents[t - 1]) + latents[t - 1]) + np.sqrt(0.5) * generator.normal(size=D)
    stationary = np.cov(latents[:5000].T)
    latents = latents[5000:]
    which = generator.choice(2, STEPS, p=SHARES)
    x = np.einsum("tnd,td->tn", matrices[which], latents) + np.sqrt(NOISES[which])[:, None] * generator.normal(size=(STEPS, N))
    f, spread = conditional_moments(x, matrices, stationary)
    precisions = np.linalg.inv(spread) - np.linalg.inv(stationary)
    improper = np.linalg.eigvalsh(precisions)[:, 0] <= 0
    # The paper's rule for steps at which the potential is not a proper one.
    precisions[improper] = np.linalg.inv(spread[improper])
    shifts = np.einsum("tij,tj->ti", np.linalg.inv(spread), f)
    share = SHARES[0] - SHARES[1]
    second = np.einsum("l,lnd,de,lme->nm", SHARES, matrices, stationary, matrices) - share**2 * loadings @ stationary @ loadings.T
    model = filters.NonlinearModel(
        np.zeros(D),
        stationary,
        dynamics,
        noise,
        emission=lambda z: share * (jnp.asarray(loadings) @ z),
        emission_covariance=second + (SHARES @ NOISES) * np.eye(N),
    )
    mixture = filters.NonlinearModel(np.zeros(D), stationary, dynamics, noise, log_likelihood=log_mixture(matrices))
    scale = np.sqrt(np.mean(latents**2))
    runs = {
        "particle": filters.filter(filters.Particle(1000), mixture, x, key=jax.random.key(0)),
        "particle, discriminative": filters.filter_information(filters.Particle(1000), mixture, precisions, shifts, key=jax.random.key(1)),
    }
    for name, strategy in (("extended", filters.Extended()), ("unscented", filters.Unscented())):
        runs[name] = filters.filter(strategy, model, x)
        runs[f"{name}, discriminative"] = filters.filter_information(strategy, model, precisions, shifts)
    errors = {name: np.sqrt(np.mean((np.asarray(run.means) - latents) ** 2)) / scale for name, run in runs.items()}
    errors["unfiltered"] = np.sqrt(np.mean((f - latents) ** 2)) / scale
    for name in ("particle, discriminative", "extended, discriminative", "unscented, discriminative"):
        assert errors["particle"] < errors[name] < 1.1 * errors["particle"], errors
        assert errors[name] < errors["unfiltered"], errors
        assert errors[name] < 0.8 * min(errors["extended"], errors["unscented"]), errors


def conditional_moments(x, matrices, stationary):
    """Mean and covariance of z given one x, for z ~ Normal(0, stationary) and the mixture of observations."""
    weights, means, covariances = [], [], []
    for share, variance, matrix in zip(SHARES, NOISES, matrices, strict=True):
        covariance = np.linalg.inv(matrix.T @ matrix / variance + np.linalg.inv(stationary))
        total = matrix @ stationary @ matrix.T + variance * np.eye(N)
        weights.append(np.log(share) - 0.5 * (np.einsum("tn,nm,tm->t", x, np.linalg.inv(total), x) + np.linalg.slogdet(total)[1]))
        means.append(x @ (covariance @ matrix.T / variance).T)
        covariances.append(covariance)
    weights = np.exp(np.array(weights) - np.max(weights, axis=0))
    weights /= weights.sum(0)
    means = np.array(means)
    mean = np.einsum("lt,ltd->td", weights, means)
    second = np.einsum("lt,lde->tde", weights, np.array(covariances)) + np.einsum("lt,ltd,lte->tde", weights, means, means)
    return mean, second - np.einsum("td,te->tde", mean, mean)


def log_mixture(matrices):
    def log_likelihood(z, x):
        squares = ((x - jnp.asarray(matrices) @ z) ** 2).sum(-1)
        return jax.nn.logsumexp(jnp.log(SHARES) - 0.5 * squares / NOISES - 0.5 * N * jnp.log(2 * jnp.pi * NOISES))

    return log_likelihood
