"""What the commands share: exit codes, options, what goes to standard error, and how results are printed."""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentgate.data import Sequences

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
EXIT_CODES = "exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong arguments, 130 interrupted"
_NO_CACHE = "LATENTGATE_NO_COMPILATION_CACHE"


class WrongArguments(ValueError):  # noqa: N818 - says what it is
    """Arguments that each are fine, and do not go together; known only once the data or the model are."""


def add_command(commands: Any, name: str, summary: str, description: str, run: Any) -> argparse.ArgumentParser:
    """A parser of a command, with what all commands have."""
    parser = commands.add_parser(name, help=summary, description=description, epilog=EXIT_CODES)
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    parser.set_defaults(run=run, command=name)
    return parser


def add_recording(parser: argparse.ArgumentParser, name: str, **options: Any) -> None:
    """The recording to read, with options of its reader."""
    parser.add_argument(name, metavar="RECORDING", help="name of a recording (`latentgate info` lists them) or path of a file", **options)
    parser.add_argument(
        "--option",
        action="append",
        type=_option,
        default=[],
        metavar="NAME=VALUE",
        dest="reader_options",
        help="option of the recording's reader, for instance bin_width=0.1; may be given several times",
    )


def add_precision(parser: argparse.ArgumentParser) -> None:
    """The switch to double precision."""
    parser.add_argument("--float64", action="store_true", help="compute in double precision")


def seed(text: str) -> int:
    """A seed, as argparse takes it."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 0, 1, 2, ...")
    return int(text)


def positive(text: str) -> int:
    """A positive integer, as argparse takes it."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected 1, 2, 3, ...")
    return int(text)


def fraction(text: str) -> float:
    """A share between 0 and 1, as argparse takes it."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number between 0 and 1, such as 0.25")
    return value


def path_with(*suffixes: str) -> Any:
    """A path whose suffix is one of `suffixes`, as argparse takes it."""

    def checked(text: str) -> Path:
        if Path(text).suffix not in suffixes:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a name that ends in {' or '.join(suffixes)}")
        return Path(text)

    return checked


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected NAME=VALUE, such as bin_width=0.1")
    try:
        return name, ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    except (ValueError, SyntaxError):
        return name, value


class Stages:
    """Lines on standard error, each with the seconds since the start; and how long each stage took.

    Args:
        quiet: say nothing.

    Attributes:
        seconds: {stage: seconds} of those that have ended.
    """

    def __init__(self, quiet: bool = False):
        self.seconds: dict[str, float] = {}
        self._quiet, self._start = quiet, time.perf_counter()
        self._stage, self._begun = "", self._start

    def __call__(self, line: str, stage: str = "") -> None:
        """Says a line; the stage before has ended, and `stage` begins."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._begun
        self._stage, self._begun = stage, now
        if not self._quiet:
            tell(f"[{now - self._start:4.0f} s] {line}")

    @property
    def all(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start


def tell(line: str) -> None:
    """One line on standard error."""
    print(line, file=sys.stderr, flush=True)


def prepare_jax(*, float64: bool = False) -> None:
    """Sets what a command may set and an import may not: double precision if asked for, and the compilation cache."""
    import jax

    if float64:
        jax.config.update("jax_enable_x64", True)
    if os.environ.get(_NO_CACHE):
        return
    from latentgate.compilation import compilation_cache

    try:
        compilation_cache()
    except OSError as error:
        tell(f"compiled programs are not kept: {error}")


def read_recording(options: argparse.Namespace) -> Sequences:
    """The recording that the arguments name.

    Raises:
        WrongArguments: for an option that the reader does not have.
    """
    from latentgate.data import load

    try:
        return load(options.recording, **dict(options.reader_options))
    except TypeError as error:
        if not options.reader_options:
            raise
        raise WrongArguments(f"--option: {error}") from error


def require_folder_of(path: Path) -> None:
    """A file that cannot be written should be known before minutes of work, not after.

    Raises:
        OSError: if the folder of a file is not there, or cannot be written to.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"--out: found {str(path)!r}, but there is no folder {str(folder)!r}; make it first.")
    if path.is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"--out: found {str(path)!r}, which cannot be written to.")


def show(options: argparse.Namespace, facts: Mapping[str, Any], lines: list[str]) -> None:
    """The result on standard output: `facts` as JSON if asked for, else the lines."""
    print(json.dumps(_plain(facts), indent=2, allow_nan=False) if options.json else "\n".join(lines))


def _plain(value: Any) -> Any:
    """JSON has neither NaN nor infinity, nor arrays."""
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
