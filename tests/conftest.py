"""What must be set before JAX and matplotlib are imported anywhere, and what keeps one process fit for a thousand compilations."""

import os
from pathlib import Path

import pytest

# On two cores XLA's CPU runtime can deadlock on two batched LAPACK calls of size 12 or more in one program (peers and dense oracles make such calls);
# it sizes its thread pool by NPROC, and with four threads the deadlock does not occur.
os.environ.setdefault("NPROC", "4")
# Tests run where there is no display.
os.environ.setdefault("MPLBACKEND", "Agg")

# Nearly all of the suite's time is compilation of programs that run once: LLVM's passes are not worth theirs (XLA's own stay).
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

MEMORY_MAPS = Path("/proc/self/maps")
MOST_MEMORY_MAPS = 30_000


@pytest.fixture(autouse=True)
def room_for_compiled_programs():
    """Every compiled program holds several memory maps, of which Linux allows a process 65 530: one too many is a segmentation fault inside XLA."""
    yield
    if MEMORY_MAPS.exists() and MEMORY_MAPS.read_bytes().count(b"\n") > MOST_MEMORY_MAPS:
        import jax

        jax.clear_caches()
