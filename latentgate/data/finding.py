"""The files of recordings by name: found in a folder, beside the package, in the cache or by download; their bytes are always checked."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any, cast

from latentgate.data.registry import RECORDINGS, Conversion, RecordingFile


class RecordingUnavailable(FileNotFoundError):  # noqa: N818 - the public name
    """A known recording whose file is neither here nor can be downloaded; the message says what to do and where it was looked for."""


def find(name: str, cache: str | os.PathLike[str] | None = None, download: bool = True) -> Path:
    """The path of the (first) file of a recording; all its files are downloaded if need be; see `latentgate.data.load`."""
    return find_all(name, cache=cache, download=download)[0]


def find_all(name: str, cache: str | os.PathLike[str] | None = None, download: bool = True) -> list[Path]:
    """The paths of all files of a recording, which are downloaded if need be; see `latentgate.data.load`."""
    return [_find_file(name, file, cache, download) for file in RECORDINGS[name].files]


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _find_file(name: str, file: RecordingFile, cache: str | os.PathLike[str] | None, download: bool) -> Path:
    looked: list[str] = []
    folder = os.environ.get("LATENTGATE_DATA")
    if folder:
        path = Path(folder) / file.file
        if path.is_file():
            _check_hash(path, file)
            return path
        looked.append(f"{path} (folder named by LATENTGATE_DATA)")
    else:
        looked.append("the folder named by LATENTGATE_DATA (not set)")
    if file.conversion is not None:
        return _find_converted(name, file, file.conversion, cache, looked)
    if file.url is None:
        return _find_bundled(name, file, looked)
    return _find_cached(name, file, cache, download, looked)


def _find_bundled(name: str, file: RecordingFile, looked: list[str]) -> Path:
    package = Path(__file__).resolve().parents[1]
    # A wheel carries data/ as latentgate/_bundled; an editable install and a checkout have the repository's own folder.
    for path in (package / "_bundled" / file.file, package.parent / "data" / file.file):
        if path.is_file():
            return path
        looked.append(str(path))
    raise RecordingUnavailable(
        f"the file of the recording {name!r} is missing. Make it with: python -m latentgate.data.bundled. Looked for it in: {'; '.join(looked)}."
    )


def _find_converted(name: str, file: RecordingFile, conversion: Conversion, cache: str | os.PathLike[str] | None, looked: list[str]) -> Path:
    folder = _cache_folder(cache)
    if folder is not None:
        path = folder / file.file
        if path.is_file():
            _check_hash(path, file)
            return path
        looked.append(f"{path} (cache)")
    raise RecordingUnavailable(
        f"the recording {name!r} is not here, and has no address that could be downloaded. Make its file {file.file} by hand: {conversion.instructions} "
        f"{_where_to_put(file)} Looked for it in: {'; '.join(looked)}."
    )


def _where_to_put(file: RecordingFile) -> str:
    folder = os.environ.get("LATENTGATE_DATA")
    if folder:
        return f"Put it at {Path(folder) / file.file}."
    return f"Put it into a folder of your choice as {file.file}, and name that folder in the environment variable LATENTGATE_DATA."


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path | None:
    """The folder of downloaded recordings; None where none is named and pooch, which knows the user's cache folder, is not installed."""
    folder = cache or os.environ.get("LATENTGATE_CACHE")
    if folder is None and importlib.util.find_spec("pooch") is not None:
        import pooch

        folder = pooch.os_cache("latentgate")
    return None if folder is None else Path(folder)


def _find_cached(name: str, file: RecordingFile, cache: str | os.PathLike[str] | None, download: bool, looked: list[str]) -> Path:
    folder = _cache_folder(cache)
    if folder is not None:
        path = folder / file.file
        if path.is_file():
            if sha256(path) == file.sha256:
                return path
            looked.append(f"{path} (cache; its SHA-256 is wrong)")
        else:
            looked.append(f"{path} (cache)")
    reason: Exception | None = None
    if not download:
        why = "`download` is False"
    elif importlib.util.find_spec("pooch") is None:
        why = "the package pooch is not installed, which downloads it (pip install pooch)"
    else:
        try:
            return _download(file, folder or Path())
        except OSError as error:
            reason, why = error, f"the download failed ({_innermost(error)})"
    raise RecordingUnavailable(
        f"the file {file.file} of the recording {name!r} is not on this machine, and {why}. Download {file.url} on a machine with a connection. "
        f"{_where_to_put(file)} Looked for it in: {'; '.join(looked)}."
    ) from reason


def _innermost(error: BaseException) -> str:
    """What a chain of connection errors comes down to: libraries wrap one refusal in several errors, each repeating the address."""
    causes = [error]
    while True:
        last: Any = causes[-1]
        inner = getattr(last, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in last.args if isinstance(part, BaseException)), None)
        if inner is None or inner in causes:
            break
        causes.append(inner)
    # urllib3 writes the connection, as an object with its address in memory, before the sentence.
    sentence = str(causes[-1]).rpartition(">: ")[2] or type(causes[-1]).__name__
    return f"{type(error).__name__}: {sentence}"


def _download(file: RecordingFile, folder: Path) -> Path:
    import pooch

    downloader: Any = pooch.HTTPDownloader(timeout=30)
    try:
        return Path(
            pooch.retrieve(
                url=str(file.url),
                known_hash=f"sha256:{file.sha256}",
                fname=file.file,
                path=folder,
                downloader=downloader,
            )
        )
    except ValueError as error:
        raise ValueError(
            f"what was downloaded from {file.url} has a wrong SHA-256; expected {file.sha256}. "
            "Nothing was kept; try again, and if it stays so, the file has been replaced."
        ) from error


def _check_hash(path: Path, file: RecordingFile) -> None:
    if file.sha256 is not None and (found := sha256(path)) != file.sha256:
        raise ValueError(f"{path} has the SHA-256 {found}; expected {file.sha256}. It is damaged or another file: replace or remove it.")
    if file.conversion is None:
        return
    if path.suffix == ".gz":
        with gzip.open(path) as content:
            found, what = hashlib.file_digest(cast(Any, content), "sha256").hexdigest(), f"what is compressed in {path}"
    else:
        found, what = sha256(path), str(path)
    if found != file.conversion.sha256:
        raise ValueError(
            f"{what} has the SHA-256 {found}; expected {file.conversion.sha256}. It is damaged or another file: replace or remove it. "
            f"How it is made: {file.conversion.instructions}"
        )
