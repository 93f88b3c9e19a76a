"""Pictures of fits. Every function draws into `ax`, or makes a figure of its own, and returns the axes; matplotlib is imported only then."""

from latentgate.plotting.calibration import calibration, rank_histogram, reliability
from latentgate.plotting.colours import state_colours
from latentgate.plotting.connections import connection_types, coupling
from latentgate.plotting.decoding import decoded
from latentgate.plotting.fits import bits_per_spike, transition_matrix
from latentgate.plotting.flows import force_field, inferred_inputs
from latentgate.plotting.graphs import generator_graph, transition_graph
from latentgate.plotting.jump_processes import jump_paths, prevalence, smoothed_states
from latentgate.plotting.landscapes import landscape, potential, potential_path
from latentgate.plotting.latents import latent_trajectories
from latentgate.plotting.mixtures import dendrogram, expert_fits, gate_weights
from latentgate.plotting.potentials import position_paths, tuning_curves
from latentgate.plotting.rates import convergence_rates
from latentgate.plotting.states import occupancy, states_over_time
from latentgate.plotting.traces import em_trace

__all__ = [
    "bits_per_spike",
    "calibration",
    "connection_types",
    "convergence_rates",
    "coupling",
    "decoded",
    "dendrogram",
    "em_trace",
    "expert_fits",
    "force_field",
    "gate_weights",
    "generator_graph",
    "inferred_inputs",
    "jump_paths",
    "landscape",
    "latent_trajectories",
    "occupancy",
    "position_paths",
    "potential",
    "potential_path",
    "prevalence",
    "rank_histogram",
    "reliability",
    "smoothed_states",
    "state_colours",
    "states_over_time",
    "transition_graph",
    "transition_matrix",
    "tuning_curves",
]
