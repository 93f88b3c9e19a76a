"""What the first call costs, measured in fresh processes: imports, and a small fit for the first and for the second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Each part prints one JSON object on its last line.
IMPORTS = """
import json, time
start = time.perf_counter()
import jax
with_jax = time.perf_counter()
import latentgate as lg
with_latentgate = time.perf_counter()
lg.HMM
with_models = time.perf_counter()
lg.fit
with_engines = time.perf_counter()
print(json.dumps({
    "import jax": with_jax - start,
    "import latentgate (added)": with_latentgate - with_jax,
    "first touch of lg.HMM": with_models - with_latentgate,
    "first touch of lg.fit": with_engines - with_models,
}))
"""
_FITS = """
import json, time
import jax, numpy as np
import latentgate as lg
from latentgate.compilation import compilation_cache
cache = {cache!r}
if cache is None:
    jax.config.update("jax_enable_compilation_cache", False)
else:
    compilation_cache(cache)
jax.devices()
{setup}
seconds = {{}}
for which in ("first", "second"):
    wall, processor = time.perf_counter(), time.process_time()
    {call}
    seconds[which], seconds[which + " (processor)"] = time.perf_counter() - wall, time.process_time() - processor
print(json.dumps(seconds))
"""
SMALL_HMM = (
    "data = lg.load('simulated_insula')\nmodel = lg.HMM(3, lg.emissions.Poisson(data.num_features))",
    "lg.fit(model, data, lg.EM(max_iterations=20, tolerance=0.0), seed=0, progress=False)",
)
_RECORD = "first_calls.json"


def in_fresh_process(code: str) -> dict[str, float]:
    """Runs code in a new interpreter and reads the JSON object on its last line.

    Raises:
        RuntimeError: if it fails, with the last line that it left on standard error.
    """
    root = str(Path(__file__).resolve().parents[2])
    # A checkout that is not installed must be found by the new interpreter too.
    paths = os.pathsep.join(path for path in (root, os.environ.get("PYTHONPATH")) if path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode:
        raise RuntimeError(f"a measurement failed: {(done.stderr.strip().splitlines() or ['without a message'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def twice(setup: str, call: str, cache: str | None) -> dict[str, float]:
    """Seconds of the first and the second call in a fresh process, on the clock ("first", "second") and of all processors ("first (processor)", ...).

    Args:
        setup: statements that are not timed; `lg`, `jax` and `np` are there.
        call: the expression that is timed.
        cache: folder of compiled programs, or None for none.
    """
    return in_fresh_process(_FITS.format(cache=cache, setup=setup, call=call))


def measure(cache: Path | None) -> dict[str, Any]:
    """Seconds of imports, and of a small fit for the first and the second time; with a cache once more, when it is warm. Kept in the folder of the cache."""
    found: dict[str, Any] = {"imports": in_fresh_process(IMPORTS), "small fit": twice(*SMALL_HMM, None)}
    if cache is not None:
        twice(*SMALL_HMM, str(cache))
        found["small fit, compiled before"] = twice(*SMALL_HMM, str(cache))
    found["load_average"] = round(os.getloadavg()[0], 2)
    found["measured"] = time.strftime("%Y-%m-%d %H:%M")
    if cache is not None:
        (cache / _RECORD).write_text(json.dumps(found))
    return found


def last(cache: Path) -> dict[str, Any] | None:
    """What was measured last, or None."""
    try:
        return json.loads((cache / _RECORD).read_text())
    except (OSError, ValueError):
        return None
