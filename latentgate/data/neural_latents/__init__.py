"""The Neural Latents Benchmark: its files, as data to fit and predict, and its submissions.

    benchmark = read("mc_maze.nwb", "mc_maze", bin_ms=5)
    # ... rates = expected counts of benchmark.evaluation, [trial, time, neuron], forward bins included
    write_submission("submission.h5", benchmark.group, benchmark.submission(rates, train_rates))

`latentgate.studies.neural_latents.run` does all of it with one call. Source: Pei et al. 2021, "Neural Latents Benchmark '21".
"""

from .benchmark import Benchmark, read
from .recipes import RECIPES, Recipe
from .tensors import read_groups, write_submission

__all__ = ["RECIPES", "Benchmark", "Recipe", "read", "read_groups", "write_submission"]
