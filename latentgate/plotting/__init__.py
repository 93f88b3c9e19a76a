"""Pictures of fits. Every function draws into `ax`, or makes a figure of its own, and returns the axes; matplotlib is imported only then."""

from latentgate.plotting.colours import state_colours
from latentgate.plotting.connections import connection_types, coupling
from latentgate.plotting.fits import bits_per_spike, em_trace, transition_matrix
from latentgate.plotting.flows import force_field, inferred_inputs
from latentgate.plotting.graphs import generator_graph
from latentgate.plotting.jump_processes import jump_paths, prevalence, smoothed_states
from latentgate.plotting.mixtures import dendrogram, expert_fits, gate_weights
from latentgate.plotting.potentials import position_paths, potential, tuning_curves
from latentgate.plotting.states import occupancy, states_over_time

__all__ = [
    "bits_per_spike",
    "connection_types",
    "coupling",
    "dendrogram",
    "em_trace",
    "expert_fits",
    "force_field",
    "gate_weights",
    "generator_graph",
    "inferred_inputs",
    "jump_paths",
    "occupancy",
    "position_paths",
    "potential",
    "prevalence",
    "smoothed_states",
    "state_colours",
    "states_over_time",
    "transition_matrix",
    "tuning_curves",
]
