"""Whether arrays fit the batch they are to go with."""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike


def fits(found: tuple[int, ...], wanted: tuple[int, ...], exact: int) -> bool:
    """Whether `found` broadcasts to `wanted` and has the same last `exact` dimensions."""
    if not exact <= len(found) <= len(wanted) or found[len(found) - exact :] != wanted[len(wanted) - exact :]:
        return False
    return all(a in (1, b) for a, b in zip(found[::-1], wanted[::-1], strict=False))


def dtype_of(array: ArrayLike) -> np.dtype:
    """Its type, also where its values are not known."""
    found = getattr(array, "dtype", None)
    return np.asarray(array).dtype if found is None else found


def check_lengths(lengths: ArrayLike, batch: tuple[int, ...], num_steps: int) -> None:
    """Raises ValueError if lengths are no integers, not one a sequence, or (where known) out of range."""
    if not isinstance(lengths, Tracer):
        found = np.asarray(lengths)
        if found.size and (found.min() < 1 or found.max() > num_steps):
            raise ValueError(f"lengths: found values from {found.min()} to {found.max()}, expected 1 to T = {num_steps}.")
    if not jnp.issubdtype(dtype_of(lengths), jnp.integer):
        raise ValueError(f"lengths: found {dtype_of(lengths)}, expected integers.")
    if not fits(np.shape(lengths), batch, 0):
        raise ValueError(f"lengths: found shape {np.shape(lengths)}, expected one integer a sequence, {batch}.")
