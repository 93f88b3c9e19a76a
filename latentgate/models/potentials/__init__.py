"""Potentials: energies of latent positions, whose slopes are the forces of a Langevin flow."""

from .base import Potential
from .convex import ConvexNetwork
from .gated import Gated
from .known_force import KnownForce
from .network import Network
from .no_force import NoForce
from .oscillators import CoupledOscillators
from .polynomial import Polynomial
from .quadratic import Quadratic
from .quartic import QuarticWells
from .switching import Switching

__all__ = [
    "ConvexNetwork",
    "CoupledOscillators",
    "Gated",
    "KnownForce",
    "Network",
    "NoForce",
    "Polynomial",
    "Potential",
    "Quadratic",
    "QuarticWells",
    "Switching",
]
