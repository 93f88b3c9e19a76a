"""Decoders on real recordings, on simulated ones where the exact posterior is known, and one bin at a time.

    LATENTGATE_DATA=../shared/recordings python benchmarks/decoding.py flint   # the published table of the discriminative Kalman filter
    LATENTGATE_DATA=../shared/recordings python benchmarks/decoding.py rat     # position of a running rat
    python benchmarks/decoding.py simulated                                    # against the exact posterior, and where EKF and UKF are blind
    python benchmarks/decoding.py latency                                      # one bin in, one posterior out

`flint`: `monkey_reach_flint`, trained on bins 0 to 4 999, tested on 5 000 to 5 999, without a further shift; normalised root mean square error and mean
absolute angular error, mean over seeds where a method draws numbers. The published numbers beside them are those of run 1. The published decoders take
kinematics about zero (`centred=False`), and so do the rows of the published table here. `rat`: `rat_linear_track`, five blocks of whole laps, each decoded
from the others.
"""

import argparse
import time

import numpy as np
from decoding_cases import latency, simulated
from decoding_recordings import flint, rat


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["flint", "rat", "simulated", "latency"], nargs="+")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for what in options.what:
        begin = time.perf_counter()
        table = {"flint": flint, "rat": rat, "simulated": simulated, "latency": latency}[what](quick=options.quick, seeds=options.seeds)
        print(f"{table}\n\n({what}: {time.perf_counter() - begin:.0f} s)\n", flush=True)


if __name__ == "__main__":
    np.set_printoptions(precision=3)
    main()
