"""Files that are never half-written, and netCDF files of our own that say what they are."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


@contextmanager
def replaced_in_one_step(path: Path) -> Iterator[Path]:
    """The name of an empty file beside `path` to write to; it takes the place of `path` when all is written, and goes away if anything fails.

    Raises:
        FileNotFoundError: the folder does not exist.
        IsADirectoryError: `path` is itself a folder.
    """
    path = path.absolute()
    if path.is_dir():
        raise IsADirectoryError(f"`path` is the folder {path}; expected the name of a file, for instance {path / 'name.nc'}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"`path` is {path} but the folder {path.parent} does not exist; create it first.")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # Else a machine that loses power may keep the new name and not the content.
        with open(partial, "rb+") as written:
            os.fsync(written.fileno())
        # Temporary files are closed to others; this one is to be like any other.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_netcdf(path: Path, what: str, writer: str, layout: str) -> xr.Dataset:
    """The content of a netCDF file that this library wrote.

    Args:
        path: of the file.
        what: it is expected to be: "fit".
        writer: what writes such files: "Fit.save".
        layout: its attribute "format".

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or something else.
    """
    import xarray as xr

    if not path.exists():
        raise FileNotFoundError(f"path: found no file {str(path)!r}, expected a {what} written by {writer}.")
    try:
        with xr.open_dataset(path, engine="netcdf4") as opened:
            stored = opened.load()
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"path: {str(path)!r} cannot be read as netCDF; it is truncated or not a {what}. ({error})") from error
    found = stored.attrs.get("format")
    if found != layout:
        held = "It holds data: read it with lg.load." if "latentgate" in stored.attrs else ""
        raise ValueError(f"path: {str(path)!r} has format {found!r}, expected {layout!r} written by {writer}. {held}".rstrip())
    return stored
