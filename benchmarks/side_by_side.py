"""Timing callables side by side, and saying where it was done; needs JAX and NumPy only."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from latentgate.timing import Lap, Timing, duration, load_average, round_robin, timed  # noqa: F401 - benchmarks take them from here


def machine(packages: Iterable[str]) -> dict[str, Any]:
    """Processor, system and versions, for the record."""
    versions = {package: _version(package) for package in packages}
    cores = len(os.sched_getaffinity(0))
    return {"cpu": _cpu_model(), "cores": cores, "system": platform.platform(), "python": platform.python_version(), "versions": versions}


def _version(package: str) -> str | None:
    # A checkout on the path need not be installed; then the module knows.
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:
        return loaded
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Plain text, the first column to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    lines = []
    for row in (headers, ["-" * width for width in widths], *rows):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write_json(path: str | None, report: Mapping[str, Any]) -> None:
    """Writes the report where a file was asked for; whole or not at all."""
    if path is None:
        return
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(json.dumps(report, indent=1) + "\n")
    partial.replace(target)
