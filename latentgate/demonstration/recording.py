"""Which recording the demonstration uses: the real one where it can be had, else the bundled simulation."""

from __future__ import annotations

import dataclasses
import queue
import threading
from pathlib import Path
from typing import Any

from latentgate.data import RECORDINGS, RecordingUnavailable, Sequences, load, recordings

REAL, SIMULATED = "rat_insula", "simulated_insula"
# Trials that share seconds would let a held-out trial peep into training; bins of 100 ms halve the time of a fit.
_OPTIONS: dict[str, dict[str, Any]] = {REAL: {"bin_width": 0.1, "overlap": "trim"}}
# A machine without a connection may leave requests unanswered for minutes.
_DOWNLOAD_SECONDS = 20.0


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which recording is used, and why.

    Attributes:
        name: in `RECORDINGS`, or the path of a file.
        description: one line on what it is, with source and licence.
        path: of the file that was read.
        reason: why this one, a sentence.
        simulated: whether it was made by latentgate.
    """

    name: str
    description: str
    path: Path
    reason: str
    simulated: bool


def obtain(recording: str | None) -> tuple[Sequences, Origin]:
    """The recording asked for, or the best one that can be had, with where it came from and why; see `demonstrate`."""
    if recording is None:
        try:
            path, reason = _find(REAL)
        except (RecordingUnavailable, ValueError, TimeoutError) as error:
            path = recordings.find(SIMULATED)
            return _read(SIMULATED, path, f"the small simulated recording that ships with latentgate, because {REAL} cannot be had: {_briefly(error)}")
        return _read(REAL, path, reason)
    if recording in RECORDINGS:
        path, reason = _find(recording)
        return _read(recording, path, f"asked for by name; {reason}")
    return load(recording), Origin(recording, "a file of your own", Path(recording), "asked for by path", simulated=False)


def _briefly(error: Exception) -> str:
    """Why the real recording is missing, without the addresses and traces of a failed download."""
    if not isinstance(error, RecordingUnavailable):
        return str(error)
    tried = "" if error.__cause__ is None else f", and the download failed ({type(error.__cause__).__name__})"
    return f"it is neither in the folder that LATENTGATE_DATA names nor in the cache{tried}."


def _read(name: str, path: Path, reason: str) -> tuple[Sequences, Origin]:
    entry = RECORDINGS[name]
    description = f"{entry.description}; source: {entry.source}; licence: {entry.licence}"
    simulated = entry.url is None and entry.conversion is None
    return load(name, download=False, **_OPTIONS.get(name, {})), Origin(name, description, path, reason, simulated)


def _find(name: str) -> tuple[Path, str]:
    """Path of a recording and where it was found; downloads it if need be, within a limited time."""
    try:
        return recordings.find(name, download=False), "found on this machine"
    except RecordingUnavailable:
        if RECORDINGS[name].url is None:
            raise
    answers: queue.Queue[Path | Exception] = queue.Queue()

    def download() -> None:
        try:
            answers.put(recordings.find(name))
        except Exception as error:  # handed over to the waiting thread, which raises it
            answers.put(error)

    # A daemon, so that an unanswered request cannot keep the process alive.
    threading.Thread(target=download, daemon=True).start()
    try:
        answer = answers.get(timeout=_DOWNLOAD_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"its download did not end within {_DOWNLOAD_SECONDS:.0f} s.") from None
    if isinstance(answer, Exception):
        raise answer
    return answer, "downloaded just now, and kept in the cache"
