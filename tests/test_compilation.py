"""The cache of compiled programs: off until asked for, found again by the next process, and quiet."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentgate import compilation

ROOT = Path(__file__).resolve().parents[1]
# One program that takes longer to compile than MINIMUM_SECONDS, which is lowered so that this holds on any machine.
PROGRAM = """
import json, sys
import latentgate.compilation as compilation
compilation.MINIMUM_SECONDS = 0.0
import jax, jax.numpy as jnp
jnp.ones(3).sum().block_until_ready()  # JAX has compiled before the cache is turned on
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
folder = compilation.compilation_cache(*sys.argv[1:])
value = float(jax.jit(lambda x: jnp.sin(x @ x.T).sum())(jnp.ones((5, 3))))
print(json.dumps({"folder": str(folder), "hits": len(hits), "value": value, **compilation.cache_state()}))
"""


def run(*arguments, **environment):
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "LATENTGATE_"))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        env={**cleared, "PYTHONPATH": str(ROOT), **environment},
    )
    return json.loads(done.stdout), done.stderr


def test_the_next_process_finds_the_program(tmp_path):
    folder = tmp_path / "cache"
    first, _ = run(folder)
    second, err = run(folder)
    assert first["hits"] == 0
    assert second["hits"] > 0
    assert first["value"] == second["value"]
    assert second["on"] is True
    assert second["entries"] == first["entries"] > 0
    assert second["megabytes"] >= 0
    assert err == ""
    assert folder.stat().st_mode & 0o077 == 0


def test_the_folder_that_jax_has_stays(tmp_path):
    found, _ = run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"), LATENTGATE_CACHE=str(tmp_path / "other"))
    assert found["folder"] == str(tmp_path / "mine")
    assert not (tmp_path / "other").exists()


def test_the_folder_of_the_recordings_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path))
    assert compilation.default_folder() == tmp_path / "compiled_programs"
    monkeypatch.delenv("LATENTGATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    if sys.platform == "linux":
        assert compilation.default_folder() == tmp_path / "user" / "latentgate" / "compiled_programs"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        compilation.compilation_cache(tmp_path / "file")


def test_an_import_sets_nothing():
    code = "import latentgate, jax; latentgate.HMM; latentgate.fit; import latentgate.compilation; print(jax.config.jax_compilation_cache_dir)"
    cleared = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**cleared, "PYTHONPATH": str(ROOT)})
    assert done.stdout.strip() == "None"


def test_state_of_a_folder_that_is_not_there(tmp_path):
    assert compilation.cache_state(tmp_path / "none") == {"folder": str(tmp_path / "none"), "on": False, "entries": 0, "megabytes": 0}
