"""The command `latentgate`: fits, decodes and reports without a line of Python; each command in a file of its own."""

from latentgate.cli.entry import main
from latentgate.cli.shared import DONE, FAILED, INTERRUPTED, WRONG_ARGUMENTS

__all__ = ["DONE", "FAILED", "INTERRUPTED", "WRONG_ARGUMENTS", "main"]
