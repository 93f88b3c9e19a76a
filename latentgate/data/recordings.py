"""Loading: recordings by name, and files by their suffix."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from latentgate.data import foreign
from latentgate.data.finding import RecordingUnavailable, find, find_all, sha256
from latentgate.data.registry import RECORDINGS, Conversion, Recording, RecordingFile
from latentgate.data.sequences import Sequences

__all__ = ["READERS", "RECORDINGS", "Conversion", "Recording", "RecordingFile", "RecordingUnavailable", "find", "find_all", "load", "sha256"]

READERS: dict[str, str] = {
    ".npz": "latentgate.data.foreign:read_npz",
    ".nc": "latentgate.data.storage:read",
    ".nwb": "latentgate.adapters.nwb:read",
}
"""{suffix: "module:function" that makes `Sequences` of a path and options}; imported when used, for optional packages stand behind some."""


def load(
    name_or_path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    **options: Any,
) -> Sequences:
    """Loads a recording by its name, or a file: NWB, .npz, or what `Sequences.save` wrote.

    A public recording is looked for in the folder that the environment variable LATENTGATE_DATA names, then in the
    cache, and is then downloaded into the cache; its SHA-256 is checked each time. A few have no address that could be downloaded: they are looked for in
    the same places, and the error says how their file is made.

    Args:
        name_or_path: a name in `RECORDINGS` (for instance "rat_insula" or "simulated_insula"), or the path of a .nwb, .npz or .nc file.
        cache: folder of downloaded recordings; by default the one LATENTGATE_CACHE names, else the user's cache folder.
        download: False never downloads.
        **options: of a recording, those of its reader, for instance bin_width and minimum_rate of "rat_insula"; of an NWB file those of
            `latentgate.adapters.nwb.read`: bin_width (needed), trials, align, window, units, behaviour, events, labels; of a .npz file of plain arrays
            bin_width.

    Raises:
        ValueError: an unknown name or suffix, a file that cannot be read by itself (the message shows the lines that read it), or one whose SHA-256 is wrong.
        TypeError: an option that the recording or the kind of file does not have.
        ImportError: an NWB file without pynwb.
        RecordingUnavailable: the file of a known recording is nowhere, and cannot be downloaded.
        FileNotFoundError: no file at this path.

    Example:
        >>> import latentgate.data
        >>> latentgate.data.load("simulated_insula").num_sequences
        24
    """
    recording = RECORDINGS.get(name_or_path) if isinstance(name_or_path, str) else None
    if recording is None:
        return _load_path(name_or_path, options)
    reader = _imported(recording.reader)
    _check_options(reader, len(recording.files), options, f"the recording {name_or_path!r}")
    return reader(*find_all(str(name_or_path), cache=cache, download=download), **options)


def _load_path(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> Sequences:
    path = Path(name_or_path)
    suffix = path.suffix.lower()
    if not path.exists():
        if isinstance(name_or_path, str) and not suffix and path.name == name_or_path:
            raise ValueError(
                f"there is no recording named {name_or_path!r}.{_nearest(name_or_path, RECORDINGS)} Known are {', '.join(map(repr, RECORDINGS))}; or pass the "
                f"path of a file, {_suffixes()}."
            )
        raise FileNotFoundError(f"there is no file {path.absolute()}; expected the path of a file, {_suffixes()}, or a name.{_nearest(path.stem, RECORDINGS)}")
    if suffix not in READERS:
        raise ValueError(foreign.advice(path, f"expected {_suffixes()}"))
    reader = _imported(READERS[suffix])
    _check_options(reader, 1, options, f"a {suffix} file")
    return reader(path, **options)


def _suffixes() -> str:
    *most, last = READERS
    return f"{', '.join(most)} or {last}"


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _imported(reader: str) -> Callable[..., Sequences]:
    module, function = reader.split(":")
    return getattr(importlib.import_module(module), function)


def _check_options(reader: Callable[..., Sequences], num_paths: int, options: dict[str, Any], what: str) -> None:
    known = list(inspect.signature(reader).parameters)[num_paths:]
    for option in options:
        if option not in known:
            raise TypeError(f"`{option}` is no option of {what}; it has: {', '.join(known) or 'none'}.{_nearest(option, known)}")
