"""The oracle and the kernels beside statsmodels, dynamax and pykalman: three independent Kalman filters and smoothers.

The bound is 1e-8 of the largest number of each array. Each peer is asked only what it answers: dynamax (1.0.3, where entry
t of the dynamics leads from t - 1 to t) knows nothing missing; pykalman drops a whole row when one entry of it is missing,
so it gets whole rows only; statsmodels takes everything.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.kernels import gaussian_cases as cases
from tests.kernels.gaussian_cases import Case

pytestmark = pytest.mark.usefixtures("float64")

STEPS, BOUND = cases.GENERAL_STEPS, 1e-8
SETTINGS = ("random constant", "time-varying", "rows missing", "entries missing")


@functools.lru_cache
def case_of(setting: str) -> Case:
    """Two latents, three channels, per-step arrays throughout so that all kernels run one program."""
    plain = cases.random_constant(1, STEPS, 2, 3) if setting in ("random constant", "rows missing") else cases.random_per_step(2, STEPS, 2, 3)
    if setting == "rows missing":
        observed = np.ones((STEPS, 3), bool)
        observed[[0, 4, 5, STEPS - 1]] = False
        plain = plain.changed(observed=observed)
    elif setting == "entries missing":
        plain = cases.with_holes(plain, 3)
    return cases.per_step(plain)


def with_nan(case: Case) -> np.ndarray:
    return np.where(case.arguments["observed"], case.arguments["values"], np.nan)


def statsmodels_answers(case: Case) -> dict[str, Any]:
    smoother = pytest.importorskip("statsmodels.tsa.statespace.kalman_smoother")
    arguments = case.arguments
    size, channels = arguments["emission_matrix"].shape[-1], arguments["emission_matrix"].shape[-2]

    def last(name: str, pad: bool) -> np.ndarray:
        """Time last; the dynamics of the last step lead out of the data and are read by nobody."""
        value = arguments[name]
        return np.ascontiguousarray(np.moveaxis(np.concatenate([value, value[-1:]]) if pad else value, 0, -1))

    model = smoother.KalmanSmoother(channels, size, k_posdef=size)
    model.tolerance = 0.0
    model.bind(np.ascontiguousarray(with_nan(case)))
    model["design"], model["obs_intercept"], model["obs_cov"] = (last(f"emission_{name}", False) for name in ("matrix", "bias", "covariance"))
    model["transition"], model["state_intercept"], model["state_cov"] = (last(name, True) for name in ("matrix", "bias", "covariance"))
    model["selection"] = np.eye(size)
    model.initialize_known(arguments["initial_mean"], arguments["initial_covariance"])
    found = model.smooth()
    means, covariances = found.smoothed_state.T, np.moveaxis(found.smoothed_state_cov, -1, 0)
    # Its autocovariance at t is that of step t + 1 with step t.
    between = np.swapaxes(np.moveaxis(found.smoothed_state_autocov, -1, 0)[:-1], -1, -2)
    return {
        "log_normaliser": found.llf, "log_increments": found.llf_obs,
        "filtered_means": found.filtered_state.T, "filtered_covariances": np.moveaxis(found.filtered_state_cov, -1, 0),
        "smoothed_means": means, "smoothed_covariances": covariances, "lagged_moments": between + means[:-1, :, None] * means[1:, None, :],
    }  # fmt: skip


def dynamax_answers(case: Case) -> dict[str, Any]:
    peer = pytest.importorskip("dynamax.linear_gaussian_ssm.inference")
    arguments = case.arguments
    into = {name: np.concatenate([arguments[name][:1], arguments[name]]) for name in ("matrix", "bias", "covariance")}
    params = peer.ParamsLGSSM(
        initial=peer.ParamsLGSSMInitial(arguments["initial_mean"], arguments["initial_covariance"]),
        dynamics=peer.ParamsLGSSMDynamics(into["matrix"], into["bias"], None, into["covariance"]),
        emissions=peer.ParamsLGSSMEmissions(arguments["emission_matrix"], arguments["emission_bias"], None, arguments["emission_covariance"]),
    )
    found = cases.quick_jit(peer.lgssm_smoother)(params, arguments["values"])
    return {
        "log_normaliser": found.marginal_loglik, "filtered_means": found.filtered_means, "filtered_covariances": found.filtered_covariances,
        "smoothed_means": found.smoothed_means, "smoothed_covariances": found.smoothed_covariances, "lagged_moments": found.smoothed_cross_covariances,
    }  # fmt: skip


def pykalman_answers(case: Case) -> dict[str, Any]:
    peer = pytest.importorskip("pykalman")
    arguments = case.arguments
    noise = arguments["emission_covariance"]
    # Its filter takes noise that changes from step to step, its log-likelihood does not.
    constant = (noise == noise[0]).all()
    model = peer.KalmanFilter(
        arguments["matrix"], arguments["emission_matrix"], arguments["covariance"], noise[0] if constant else noise,
        arguments["bias"], arguments["emission_bias"], arguments["initial_mean"], arguments["initial_covariance"],
    )  # fmt: skip
    values = np.ma.masked_invalid(with_nan(case))
    filtered, smoothed = model.filter(values), model.smooth(values)
    moments = {"filtered_means": filtered[0], "filtered_covariances": filtered[1], "smoothed_means": smoothed[0], "smoothed_covariances": smoothed[1]}
    return {**moments, "log_normaliser": model.loglikelihood(values)} if constant else moments


PEERS = {"statsmodels": statsmodels_answers, "dynamax": dynamax_answers, "pykalman": pykalman_answers}
ASKED = [
    (peer, setting)
    for peer in PEERS
    for setting in SETTINGS
    if not (peer == "dynamax" and "missing" in setting) and not (peer == "pykalman" and setting == "entries missing")
]


@functools.lru_cache
def peer_answers(peer: str, setting: str) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in PEERS[peer](case_of(setting)).items()}


def assert_agree(found: dict[str, np.ndarray], peer: dict[str, np.ndarray]) -> None:
    for name, value in peer.items():
        assert_allclose(found[name], value, rtol=0, atol=BOUND * max(1.0, np.abs(value).max()), err_msg=name)


@pytest.mark.parametrize(("peer", "setting"), ASKED, ids=str)
def test_the_oracle_agrees_with_peers(peer, setting):
    truth = case_of(setting).truth
    assert_agree({name: getattr(truth, name) for name in peer_answers(peer, setting)}, peer_answers(peer, setting))


@pytest.mark.parametrize("way", cases.WAYS[1:], ids="-".join)
def test_kernels_agree_with_peers(way):
    """Every way at once for all settings: sequences of one batch."""
    found = cases.batch_answers("general", [case_of(setting) for setting in SETTINGS], way)
    for peer, setting in ASKED:
        b = SETTINGS.index(setting)
        assert_agree({name: value[b] for name, value in found.items()}, peer_answers(peer, setting))


def test_constant_chain_on_the_fast_path_agrees_with_peers():
    """The same constant chain as constant arrays, nothing missing."""
    case = cases.random_constant(1, STEPS, 2, 3)
    found = cases.answers(case.arguments)
    for peer in PEERS:
        theirs = dict(peer_answers(peer, "random constant"))
        if "lagged_moments" in theirs:
            theirs["lagged_moments"] = theirs["lagged_moments"].sum(axis=0)
        assert_agree(found, theirs)
