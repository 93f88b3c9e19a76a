"""Running the command in this process."""

import contextlib
import io
from typing import NamedTuple

from latentgate import cli


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(*arguments) -> Done:
    """Exit code, standard output and standard error of `latentgate ARGUMENTS`."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
    return Done(code, out.getvalue(), err.getvalue())
