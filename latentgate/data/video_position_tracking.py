"""Files of positions tracked in a video (.videoPositionTracking): a header in text, then binary records."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import numpy as np

_START, _END = b"<Start settings>\n", b"<End settings>\n"
_TYPES = {"uint8": "<u1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "int16": "<i2", "int32": "<i4", "float": "<f4", "double": "<f8"}


@dataclasses.dataclass(frozen=True)
class TrackedPosition:
    """Positions of a tracked spot in the frames of a video.

    Attributes:
        times: float64 [frame], s on the recording's clock, strictly increasing.
        positions: float64 [frame, 2], x and y in pixels.
        settings: the header's other lines, for instance {"camera resolution": "640x480"}.
    """

    times: np.ndarray
    positions: np.ndarray
    settings: dict[str, str]


def read(path: str | os.PathLike[str]) -> TrackedPosition:
    """Reads a .videoPositionTracking file.

    The header names the fields of a record and their types; records follow without gaps, lowest byte first. `time` counts ticks of the clock that also
    stamps the spikes (`clockrate` of them a second), so that ticks divided by the rate are seconds on the clock of the spike times. Of frames with
    equal ticks the last is kept.

    Args:
        path: of the file.

    Raises:
        ValueError: no header, a header without clock rate or without the fields time, xloc and yloc, an unknown type, a last record that is cut off, or
            a clock that runs backwards.
    """
    content = Path(path).read_bytes()
    end = content.find(_END)
    if not content.startswith(_START) or end < 0:
        raise ValueError(f"{path} does not begin with a header from {_START.decode().strip()} to {_END.decode().strip()}; is it another kind of file?")
    lines = content[len(_START) : end].decode("latin-1").splitlines()
    settings = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    rate = float(settings.get("clockrate", "nan"))
    if not rate > 0:
        raise ValueError(f"the header of {path} has the clockrate {settings.get('clockrate')!r}; expected a positive number of ticks per second.")
    records = _records(path, settings.get("Fields", ""), content[end + len(_END) :])
    ticks = records["time"].astype(np.int64)
    backwards = np.flatnonzero(np.diff(ticks) < 0)
    if backwards.size:
        frame = int(backwards[0]) + 1
        raise ValueError(f"the clock of {path} runs backwards: frame {frame} has {ticks[frame]} ticks after {ticks[frame - 1]}; cut the file there.")
    kept = np.append(np.diff(ticks) > 0, True) if ticks.size else np.zeros(0, bool)
    positions = np.stack([records["xloc"], records["yloc"]], axis=1).astype(np.float64)
    return TrackedPosition(ticks[kept] / rate, positions[kept], settings)


def _records(path: str | os.PathLike[str], fields: str, content: bytes) -> np.ndarray:
    """The binary records as a structured array."""
    described = re.findall(r"<(\w+) (\w+)>", fields)
    names = [name for name, _ in described]
    missing = [name for name in ("time", "xloc", "yloc") if name not in names]
    if missing:
        raise ValueError(f"the header of {path} has the fields {fields!r}; expected <name type> with {', '.join(missing)} among the names.")
    unknown = [kind for _, kind in described if kind not in _TYPES]
    if unknown:
        raise ValueError(f"the header of {path} has the type {unknown[0]!r}; expected one of {', '.join(_TYPES)}.")
    record = np.dtype([(name, _TYPES[kind]) for name, kind in described])
    if len(content) % record.itemsize:
        raise ValueError(
            f"{path} has {len(content)} bytes of records of {record.itemsize} bytes: the last one is cut off. Get the file again, or cut it to whole records."
        )
    return np.frombuffer(content, record)
