"""Recordings by name: bundled files, and public files found in a folder, in the cache or by download."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from latentgate.data import storage
from latentgate.data.sequences import Sequences


class RecordingUnavailable(FileNotFoundError):  # noqa: N818 - the public name
    """A known recording whose file is neither here nor can be downloaded; the message says where it was looked for."""


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How a file is made by hand from a source that cannot be read, or cannot be downloaded, as it is.

    Attributes:
        instructions: what to do, a sentence.
        sha256: SHA-256 of the file, checked whenever it is used; of what is in it where its name ends in .gz (compressed bytes differ between programs).
    """

    instructions: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class RecordingFile:
    """A file of a recording.

    Attributes:
        file: its name.
        url: address to download from.
        sha256: SHA-256 of the downloaded file, checked whenever it is used.
        conversion: how it is made where it has no address; None for a file that is downloaded, or ships with latentgate.
    """

    file: str
    url: str | None = None
    sha256: str | None = None
    conversion: Conversion | None = None


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that `load` knows by name.

    Attributes:
        file: name of its file (of its first, where it has several).
        description: one sentence.
        licence: its licence.
        source: where it comes from.
        reader: "module:function" that makes `Sequences` of the paths of its files, in their order, and options; imported when used.
        url: address to download from; None for a recording that ships with latentgate, or has a conversion.
        sha256: SHA-256 of the downloaded file, checked whenever it is used.
        companions: its further files.
        conversion: how its (first) file is made by hand where it has no address.
    """

    file: str
    description: str
    licence: str
    source: str
    reader: str
    url: str | None = None
    sha256: str | None = None
    companions: tuple[RecordingFile, ...] = ()
    conversion: Conversion | None = None

    @property
    def files(self) -> tuple[RecordingFile, ...]:
        """All its files, in the order in which the reader takes them."""
        return (RecordingFile(self.file, self.url, self.sha256, self.conversion), *self.companions)


RECORDINGS: dict[str, Recording] = {
    "rat_insula": Recording(
        file="rat_insula.mat",
        description="96 units of rat insula, 46 rewarded and 26 unrewarded lever trials",
        licence="MIT",
        source="github AamnaLawrence/GLM-HMM-Neuronal-Encoding, Data/Insula/insula.mat at f067393",
        reader="latentgate.data.rat_insula:read_matlab",
        url="https://raw.githubusercontent.com/AamnaLawrence/GLM-HMM-Neuronal-Encoding/f067393/Data/Insula/insula.mat",
        sha256="3aaff067de6a80224b4493611ad5f6838b6fe5f37701ff8016f196fb3faf3c9f",
    ),
    "simulated_insula": Recording(
        file="simulated_insula.npz",
        description="simulated: 15 neurons in 24 lever trials, from a one-hot HMM-GLM with three states",
        licence="MIT",
        source="made by python -m latentgate.data.bundled",
        reader="latentgate.data.storage:read",
    ),
    "rat_linear_track": Recording(
        file="rat_linear_track_spikes.mat",
        description="31 hippocampal units of a rat on 45 running laps of a linear track",
        licence="MIT",
        source="github nelpy/example-data, linear-track at 099548c",
        reader="latentgate.data.rat_linear_track:read_track",
        url="https://raw.githubusercontent.com/nelpy/example-data/099548c/linear-track/spikes.mat",
        sha256="615b05a9228a5eaea7f99d5fc5b11848a4d94fc154104612410c887875b65bc7",
        companions=(
            RecordingFile(
                file="rat_linear_track.videoPositionTracking",
                url="https://raw.githubusercontent.com/nelpy/example-data/099548c/linear-track/trajectory.videoPositionTracking",
                sha256="10a883302c50e26d5f659ac4ee08d8901f7881c71f6800cd56d999a620b31cb5",
            ),
        ),
    ),
    "monkey_reach_flint": Recording(
        file="monkey_reach_flint_neural.csv",
        description="10 principal components of monkey motor cortex and hand velocity while reaching, 7 792 bins of 100 ms",
        licence="MIT",
        source="github burkh4rt/DKF-implementations, data/x.csv and data/z.csv at 2f19111",
        reader="latentgate.data.monkey_reach_flint:read_csv",
        url="https://raw.githubusercontent.com/burkh4rt/DKF-implementations/2f19111/data/x.csv",
        sha256="9bd0d05589750cbfdaaacb0f848b4ed73ff42e2cf1aa17671e49a22d9ce5006d",
        companions=(
            RecordingFile(
                file="monkey_reach_flint_velocity.csv",
                url="https://raw.githubusercontent.com/burkh4rt/DKF-implementations/2f19111/data/z.csv",
                sha256="dc93cd54f4188b731e4323307505a2004fcf7347c67561624af04f3a1ce4518f",
            ),
        ),
    ),
    "monkey_pmd_decisions": Recording(
        file="monkey_pmd_decisions.npz",
        description="14 neurons of monkey dorsal premotor cortex in 1 056 perceptual decisions, from stimulus to reaction",
        licence="MIT",
        source="converted from github engellab/neuralflow, examples/2024_the_dynamics_and_geometry at 508cf7b",
        reader="latentgate.data.monkey_pmd_decisions:read_npz",
        conversion=Conversion(
            instructions="From github engellab/neuralflow, examples/2024_the_dynamics_and_geometry at 508cf7b (whose data are pickled), write the arrays "
            "with numpy.savez_compressed: num_trials, num_neurons, stimulus_onset, reaction_time (after onset), chosen_right, correct_right, hard [trial], "
            "spike_times (s from the start of the trial, float32, laid one after the other), offsets [1 + trial * neuron]: where those of each trial and "
            "neuron begin.",
            sha256="29087a0da7b6a632b50d7f3ab191f5d04bf3b311b862a81eb94c6295f296d831",
        ),
    ),
    "lorenz_spikes": Recording(
        file="lorenz_spikes.h5",
        description="simulated: 60 neurons driven by a Lorenz attractor in 640 training and 160 validation trials, with the true rates and latents",
        licence="MIT",
        source="github felixp8/lfads-nlb-tutorials, data/lfads_lorenz.h5 at 1c50908",
        reader="latentgate.data.lorenz_spikes:read_hdf5",
        url="https://raw.githubusercontent.com/felixp8/lfads-nlb-tutorials/1c50908/data/lfads_lorenz.h5",
        sha256="c55b9b38d38054c2f43909a195058d1d242dc291f607a2d45fab4d85977ab54d",
    ),
    "psor": Recording(
        file="psor.csv",
        description="psoriatic arthritis of 305 patients, in 4 stages by the number of damaged joints, with two covariates",
        licence="GPL >= 2",
        source="R package msm 1.7, data set psor",
        reader="latentgate.data.jump_recordings:read_psor",
        conversion=Conversion(
            instructions='In R, with the package msm: write.csv(msm::psor, "psor.csv", row.names = FALSE).',
            sha256="8ca21835f181ae1cd3202a742979870f63883be34675761f9c9e5ea3ef40355e",
        ),
    ),
    "fev": Recording(
        file="fev.csv",
        description="lung function of 203 patients after a transplantation, until death or the end of the study",
        licence="GPL >= 2",
        source="R package msm 1.7, data set fev",
        reader="latentgate.data.jump_recordings:read_fev",
        conversion=Conversion(
            instructions='In R, with the package msm: write.csv(msm::fev, "fev.csv", row.names = FALSE).',
            sha256="1d7e8b1cce0e522dec0455febafd71ae8bdd59bc65bb43f861ecc03339dfda24",
        ),
    ),
    "tonedata": Recording(
        file="tonedata.csv",
        description="150 adjustments of a musician, who tuned a tone to the octave of a fundamental with stretched overtones",
        licence="GPL >= 2",
        source="R package mixtools 2.0, data set tonedata",
        reader="latentgate.data.tonedata:read_tones",
        conversion=Conversion(
            instructions='In R, with the package mixtools: data(tonedata, package = "mixtools"); '
            'write.csv(tonedata, "tonedata.csv", row.names = FALSE, quote = FALSE).',
            sha256="26836b79ef5047b00bd17fdbe707a4c63a599e8b578a97d04abf15e8797432f9",
        ),
    ),
    "flashing_ratchet": Recording(
        file="flashing_ratchet.csv.gz",
        description="simulated: 10 000 paths of the discrete flashing ratchet (six states, V = r = b = 1) at 100 regular times on [0, 2.5]",
        licence="MIT",
        source="converted from github FIM4Science/OpenFIM, 6_st_DFR_V=1 at cee2bb5",
        reader="latentgate.data.jump_recordings:read_flashing_ratchet",
        conversion=Conversion(
            instructions="From github FIM4Science/OpenFIM, 6_st_DFR_V=1 at cee2bb5, write the states 0 to 5 of each path as one row of 100 integers, "
            "separated by commas without spaces, and compress the file with gzip.",
            sha256="4a15d5ab52400a472a7fc22bc7079d1b45fd4f814ba65322442d7d85a549f569",
        ),
    ),
}


def load(
    name_or_path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    download: bool = True,
    **options: Any,
) -> Sequences:
    """Loads a recording by its name, or a file written by `Sequences.save`.

    A public recording is looked for in the folder that the environment variable LATENTGATE_DATA names, then in the
    cache, and is then downloaded into the cache; its SHA-256 is checked each time. A few have no address that could be downloaded: they are looked for in
    the same places, and the error says how their file is made.

    Args:
        name_or_path: a name in `RECORDINGS` (for instance "rat_insula" or "simulated_insula"), or the path of a .npz or .nc file.
        cache: folder of downloaded recordings; by default the one LATENTGATE_CACHE names, else the user's cache folder.
        download: False never downloads.
        **options: options of the recording's reader, for instance bin_width and minimum_rate of "rat_insula".

    Raises:
        ValueError: an unknown name, or a file whose SHA-256 is wrong.
        TypeError: an option that the recording does not have.
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
    module, function = recording.reader.split(":")
    reader: Callable[..., Sequences] = getattr(importlib.import_module(module), function)
    known = list(inspect.signature(reader).parameters)[len(recording.files) :]
    for option in options:
        if option not in known:
            raise TypeError(f"`{option}` is no option of the recording {name_or_path!r}; it has: {', '.join(known) or 'none'}.")
    return reader(*find_all(str(name_or_path), cache=cache, download=download), **options)


def find(name: str, cache: str | os.PathLike[str] | None = None, download: bool = True) -> Path:
    """The path of the (first) file of a recording; all its files are downloaded if need be; see `load`."""
    return find_all(name, cache=cache, download=download)[0]


def find_all(name: str, cache: str | os.PathLike[str] | None = None, download: bool = True) -> list[Path]:
    """The paths of all files of a recording, which are downloaded if need be; see `load`."""
    return [_find_file(name, file, cache, download) for file in RECORDINGS[name].files]


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
        looked.append("LATENTGATE_DATA is not set")
    if file.conversion is not None:
        return _find_converted(name, file, file.conversion, cache, looked)
    if file.url is None:
        return _find_bundled(name, file, looked)
    return _find_cached(name, file, cache, download, looked)


def _load_path(name_or_path: str | os.PathLike[str], options: dict[str, Any]) -> Sequences:
    path = Path(name_or_path)
    is_name = isinstance(name_or_path, str) and not path.suffix and path.name == name_or_path
    if is_name and not path.exists():
        raise ValueError(
            f"there is no recording named {name_or_path!r}; known are {', '.join(map(repr, RECORDINGS))}. Pass one of them or the path of a .npz or .nc file."
        )
    if options:
        raise TypeError(f"`{next(iter(options))}` is an option of named recordings only; files written by Sequences.save have none.")
    return storage.read(path)


def _find_bundled(name: str, file: RecordingFile, looked: list[str]) -> Path:
    package = Path(__file__).resolve().parents[1]
    # A wheel carries data/ as latentgate/_bundled; an editable install and a checkout have the repository's own folder.
    for path in (package / "_bundled" / file.file, package.parent / "data" / file.file):
        if path.is_file():
            return path
        looked.append(str(path))
    raise RecordingUnavailable(
        f"the file of the recording {name!r} is missing. Looked in: {'; '.join(looked)}. Make it with: python -m latentgate.data.bundled"
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
        f"the recording {name!r} is not here, and has no address that could be downloaded. Looked in: {'; '.join(looked)}. "
        f"Make its file {file.file} by hand: {conversion.instructions} Then name its folder in the environment variable LATENTGATE_DATA."
    )


def _cache_folder(cache: str | os.PathLike[str] | None) -> Path | None:
    """The folder of downloaded recordings; None where none is named and pooch, which knows the user's cache folder, is not installed."""
    folder = cache or os.environ.get("LATENTGATE_CACHE")
    if folder is None and importlib.util.find_spec("pooch") is not None:
        import pooch

        folder = pooch.os_cache("latentgate")
    return None if folder is None else Path(folder)


def _find_cached(name: str, file: RecordingFile, cache: str | os.PathLike[str] | None, download: bool, looked: list[str]) -> Path:
    has_pooch = importlib.util.find_spec("pooch") is not None
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
        looked.append("no download, as `download` is False")
    elif not has_pooch:
        looked.append("no download, as the package pooch is not installed")
    else:
        try:
            return _download(file, folder or Path())
        except OSError as error:
            looked.append(f"{file.url} (download failed: {type(error).__name__}: {error})")
            reason = error
    raise RecordingUnavailable(
        f"the recording {name!r} cannot be had. Looked in: {'; '.join(looked)}. "
        f"Download {file.url} on a machine with a connection, save it as {file.file}, and name its folder in "
        "the environment variable LATENTGATE_DATA."
    ) from reason


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


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


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
