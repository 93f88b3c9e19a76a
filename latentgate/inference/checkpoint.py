"""Long runs that survive being killed: the state of a run and what it has produced so far, written atomically between blocks."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import latentgate
from latentgate.data import Sequences
from latentgate.files import replaced_in_one_step
from latentgate.models.base import Model

_IDENTITY = "run.json"


class Checkpoint:
    """One stage of a run in a folder; with `folder=None` nothing is written and nothing found.

    A block's output has a file of its own, written before the state that counts it. So at every moment the folder holds one complete state and
    every block that led to it, whatever was half-written when the process died.
    """

    def __init__(self, folder: Path | None, stage: str = "run"):
        self.folder, self.stage = folder, stage

    @classmethod
    def open(cls, folder: str | os.PathLike[str] | None, identity: dict[str, Any]) -> Checkpoint:
        """The checkpoint of the run that `identity` describes.

        Args:
            folder: made if absent; None for no checkpoint.
            identity: {what: JSON-ready value} of everything that the answer depends on.

        Raises:
            ValueError: if the folder holds another run, or is not a checkpoint.
        """
        if folder is None:
            return cls(None)
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"checkpoint: {str(folder)!r} is a file, expected a folder for this run's checkpoints.")
        folder.mkdir(parents=True, exist_ok=True)
        identity = json.loads(json.dumps(identity))
        path = folder / _IDENTITY
        if path.exists():
            try:
                found = json.loads(path.read_text())
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ValueError(f"checkpoint: {str(path)!r} is damaged ({error}); start again in an empty folder.") from error
            other = sorted(key for key in {*identity, *found} if identity.get(key) != found.get(key))
            if other:
                raise ValueError(
                    f"checkpoint: the folder {str(folder)!r} holds a run with another {', '.join(other)}; "
                    "resume it with the same arguments, or use an empty folder."
                )
        elif any(folder.glob("*.npz")):
            raise ValueError(f"checkpoint: the folder {str(folder)!r} has lost its {_IDENTITY}; start again in an empty folder.")
        else:
            _write(path, json.dumps(identity, indent=1).encode())
        return cls(folder)

    def child(self, stage: str) -> Checkpoint:
        """Another stage of the same run."""
        return Checkpoint(self.folder, f"{self.stage}.{stage}")

    def restore(self, template: Any) -> tuple[Any, list[dict[str, np.ndarray]]] | None:
        """The last state stored and the output of every block before it, or None if there is none.

        Args:
            template: a state of the same structure, shapes and types.

        Raises:
            ValueError: if a file is missing, truncated or altered.
        """
        if self.folder is None or not self._state_path.exists():
            return None
        stored = _read(self._state_path)
        leaves, structure = jax.tree.flatten(template)
        names = [f"leaf{i}" for i in range(len(leaves))]
        if set(stored) != {*names, "blocks"}:
            raise ValueError(f"checkpoint: {str(self._state_path)!r} is not a state of this run; start again in an empty folder.")
        restored = [_like(leaf, stored[name], self._state_path) for leaf, name in zip(leaves, names, strict=True)]
        blocks = [_read(self._block_path(index)) for index in range(int(stored["blocks"]))]
        return jax.tree.unflatten(structure, restored), blocks

    def store(self, state: Any, num_blocks: int, block: dict[str, np.ndarray]) -> None:
        """Adds the output of the latest block, the `num_blocks`-th, and replaces the state."""
        if self.folder is None:
            return
        _write_arrays(self._block_path(num_blocks - 1), block)
        leaves = {f"leaf{i}": _data(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
        _write_arrays(self._state_path, {**leaves, "blocks": np.array(num_blocks)})

    @property
    def _state_path(self) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.stage}.npz"

    def _block_path(self, index: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{self.stage}.block{index:05d}.npz"


def identity_of(model: Model, data: Sequences, engine: str, seed: int, start: dict | None) -> dict[str, Any]:
    """What the answer of a run depends on, for `Checkpoint.open`."""
    from latentgate.models.specification import to_specification

    return {
        "format": "latentgate checkpoint 1",
        "version of latentgate": latentgate.__version__,
        "model": to_specification(model),
        "data": _digest(jax.tree.leaves(data)),
        "engine": engine,
        "seed": seed,
        "start": None if start is None else _digest([start[name] for name in sorted(start)]),
        "precision": str(jnp.result_type(float)),
    }


def _digest(arrays: list) -> str:
    total = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _data(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _like(leaf: Any, value: np.ndarray, path: Path) -> jax.Array:
    expected = _data(leaf)
    if value.shape != expected.shape or value.dtype != expected.dtype:
        raise ValueError(
            f"checkpoint: {str(path)!r} holds an array of {value.dtype} {value.shape} where this run has {expected.dtype} {expected.shape}; "
            "start again in an empty folder."
        )
    return jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf)) if _is_key(leaf) else jnp.asarray(value)


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(value) for name, value in arrays.items()})  # pyright: ignore[reportArgumentType]
    _write(path, buffer.getvalue())


def _write(path: Path, content: bytes) -> None:
    with replaced_in_one_step(path) as partial:
        partial.write_bytes(content)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise ValueError(f"checkpoint: {str(path)!r} is missing; start again in an empty folder.") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"checkpoint: {str(path)!r} is truncated or altered ({error}); start again in an empty folder.") from error
