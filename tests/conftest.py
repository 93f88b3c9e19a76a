"""What must be set before JAX and matplotlib are imported anywhere."""

import os

# On two cores XLA's CPU runtime can deadlock on two batched LAPACK calls of size 12 or more in one program (peers and dense oracles make such calls);
# it sizes its thread pool by NPROC, and with four threads the deadlock does not occur.
os.environ.setdefault("NPROC", "4")
# Tests run where there is no display.
os.environ.setdefault("MPLBACKEND", "Agg")
