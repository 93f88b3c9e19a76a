"""The command as a whole: help, exit codes, errors in one line, a reader that goes away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from latentgate import cli
from latentgate.cli import entry

from .running import run

COMMANDS = ("demo", "fit", "decode", "report", "rates", "bench", "info")
ROOT = Path(__file__).resolve().parents[2]


def python(code, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *code], capture_output=True, text=True, check=False, cwd=ROOT, env=environment, **options)


def test_help_does_not_wait_for_jax():
    code = """
import sys
from latentgate import cli
try:
    cli.main(["--help"])
except SystemExit as done:
    assert not done.code
assert "jax" not in sys.modules
"""
    done = python(["-c", code])
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_as_a_module():
    done = python(["-m", "latentgate", "fit", "--help"])
    assert done.returncode == 0
    assert "poisson-hmm" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_exit_codes(name):
    done = run(name, "--help")
    assert done.code == 0
    assert "130 interrupted" in " ".join(done.out.split())
    assert "--json" in done.out


@pytest.mark.parametrize("arguments", [[], ["dance"], ["demo", "--seed", "-1"], ["demo", "--seed", "x"], ["demo", "--states"], ["fit"]])
def test_wrong_arguments(arguments):
    done = run(*arguments)
    assert done.code == cli.WRONG_ARGUMENTS
    assert "usage: latentgate" in done.err


def test_a_fault_of_ours_is_one_line_unless_asked_for(monkeypatch):
    def broken(options):
        raise KeyError("nobody\nexpected this")

    monkeypatch.setattr("latentgate.cli.info.run", broken)
    done = run("info")
    assert done.code == cli.FAILED
    assert done.err.splitlines() == ["latentgate info: KeyError: 'nobody\\nexpected this' (--debug shows where)"]
    assert "Traceback" in run("info", "--debug").err


def test_a_reader_that_goes_away():
    command = f"{sys.executable} -m latentgate fit --help | head -n 1; {sys.executable} -m latentgate info | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert "Traceback" not in done.stderr
    assert "BrokenPipeError" not in done.stderr
    assert done.stdout.splitlines()[-1] == "0"


def test_every_command_is_there():
    assert tuple(command.__name__.rpartition(".")[2] for command in entry._COMMANDS) == COMMANDS
