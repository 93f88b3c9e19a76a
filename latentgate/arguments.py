"""What is said of an argument that is wrong, or that looks like a slip: the words that all messages share."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import equinox
import jax
import numpy as np

_LONGEST = 60


def described(value: Any) -> str:
    """A value in a few words: a class in place of an instance is called so, and what fills many lines is called by its type."""
    if isinstance(value, type):
        return f"the class {value.__name__} without parentheses"
    text = repr(value)
    if len(text) <= _LONGEST and "\n" not in text:
        return text
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, list | tuple | dict) else f"{type(value).__name__}(...)"


def at_least(name: str, value: int, smallest: int = 1) -> int:
    """The value as an integer.

    Raises:
        ValueError: unless it is an integer of at least `smallest`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < smallest:
        raise ValueError(f"{name}: found {described(value)}, expected an integer of at least {smallest}.")
    return int(value)


def positive(name: str, value: float) -> float:
    """The value, a positive finite number.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value < np.inf:
        raise ValueError(f"{name}: found {described(value)}, expected a positive number.")
    return float(value)


def check_seed(seed: Any) -> int:
    """A seed as an integer.

    Raises:
        TypeError: for keys, generators, None and fractions.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"seed: found {described(seed)}, expected an integer, for instance seed=0; the same seed gives the same result.")
    return int(seed)


def key_of(seed: Any) -> jax.Array:
    """The JAX key of a seed; raises as `check_seed`."""
    return jax.random.key(check_seed(seed))


def suspect(argument: str, text: str) -> None:
    """Warns, at the user's line, of what may be meant but is more often a slip, and says how to silence it.

    Args:
        argument: what the message begins with, by which it is silenced.
        text: what was found, and what to do.
    """
    how = f"If you mean it, warnings.filterwarnings('ignore', message={argument + ':'!r}) silences this."
    # Methods of models are called through equinox.
    between = (str(Path(__file__).parent), str(Path(equinox.__file__).parent))
    warnings.warn(f"{argument}: {text} {how}", UserWarning, skip_file_prefixes=between)
