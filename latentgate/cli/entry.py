"""From arguments to a command, and from what happens to an exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence as Many

from latentgate.cli import bench, decode, demo, fit, info, rates, report
from latentgate.cli.shared import DONE, EXIT_CODES, FAILED, INTERRUPTED, WRONG_ARGUMENTS, WrongArguments, tell

_COMMANDS = (demo, fit, decode, report, rates, bench, info)
_EPILOG = (
    f"{EXIT_CODES}. Compiled programs are kept in the user's cache folder, so that the same command is faster the second time; "
    "set LATENTGATE_NO_COMPILATION_CACHE=1 to keep none."
)
_EXPECTED = (OSError, ValueError, TypeError, ArithmeticError, ImportError)


def main(arguments: Many[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Args:
        arguments: as after the name of the program; those of the process if None.

    Raises:
        SystemExit: with code 2 where the arguments cannot be read, with 0 after --help.
    """
    options = _parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has seen enough; Python would complain once more when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return DONE
    except KeyboardInterrupt:
        tell("interrupted")
        return INTERRUPTED
    except Exception as error:
        if options.debug:
            traceback.print_exc()
        tell(f"latentgate {options.command}: {_one_line(error)}")
        return WRONG_ARGUMENTS if isinstance(error, WrongArguments) else FAILED
    return code


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if text and isinstance(error, _EXPECTED) else f"{type(error).__name__}: {text} (--debug shows where)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="latentgate", description="Latent dynamics from noisy sequences, on JAX.", epilog=_EPILOG)
    commands = parser.add_subparsers(required=True, metavar="command")
    for command in _COMMANDS:
        command.add(commands)
    return parser
