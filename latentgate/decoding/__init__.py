"""Decoders of kinematics from neural activity, with scikit-learn's habits, and one bin at a time."""

from .base import Posterior
from .discriminative import DiscriminativeKalmanFilter
from .kalman import KalmanDecoder
from .nadaraya_watson import NadarayaWatson
from .regressors import SparselyTunedGaussianProcess
from .sessions import bin_spikes
from .wiener import WienerFilter

__all__ = [
    "DiscriminativeKalmanFilter",
    "KalmanDecoder",
    "NadarayaWatson",
    "Posterior",
    "SparselyTunedGaussianProcess",
    "WienerFilter",
    "bin_spikes",
]
