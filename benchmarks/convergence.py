"""How fast estimators of gated mixtures approach the truth: the published studies, and what they must show. float64, CPU.

    python benchmarks/convergence.py [exact|gaussian|top-k|contaminated|temperature|sigmoid|speed|all] [--quick] [--checkpoint FOLDER] [--figures FOLDER]

    exact           softmax gate, two experts: slope, level and likelihood ratio of maximum likelihood against theory
    gaussian        Gaussian gate with one or two experts too many: eight published slopes
    top-k           sparse softmax, with enough and with too few selected experts
    contaminated    a known law contaminated by one normal expert: four published slopes, and the cases that cannot be told apart
    temperature     a free temperature under a linear score, which is not identified, beside the activation gate, which is
    sigmoid         sigmoid beside softmax gates on networks and linear experts
    speed           core-seconds of the published workload of `exact`

Sizes, replications, windows and rules of judgement are those of the modules in `convergence_cases`, fixed before anything is computed; each report begins with
them. Near-truth starts are marked: no analysis of real data gets them. Reports go to standard output, progress to standard error; with --checkpoint a study
that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from convergence_cases import CASES, Options, load
from side_by_side import load_average, machine

import latentgate  # noqa: F401 - knows its own version

PACKAGES = ("latentgate", "jax", "numpy")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="?", default="all", choices=(*CASES, "all"))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs; nothing is judged")
    parser.add_argument("--checkpoint", metavar="FOLDER", type=Path, help="keep studies here while they run, and resume them")
    parser.add_argument("--figures", metavar="FOLDER", type=Path, help="write figures here")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    where = machine(PACKAGES)
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    print(f"{where['cpu']}, {where['cores']} cores, {versions}, load {load_average()[0]} at the start", flush=True)
    asked = Options(options.quick, options.checkpoint, options.figures, options.seed)
    for case in CASES if options.case == "all" else (options.case,):
        wall, processor = time.perf_counter(), time.process_time()
        lines = load(case).run(asked)
        print(f"\n== {case} ==\n")
        print("\n".join(lines))
        spent = f"{time.perf_counter() - wall:.0f} s, {time.process_time() - processor:.0f} core-seconds"
        print(f"\n{case}: {spent}, load {load_average()[0]} at the end", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
