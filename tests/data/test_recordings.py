"""Recordings by name: where they are looked for, the check of their bytes, and the errors."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import latentgate.data
from latentgate.data import RECORDINGS, RecordingUnavailable, finding, load, recordings
from tests.data.test_sequences import example, same


@pytest.fixture
def public(monkeypatch, tmp_path):
    """Registers a public recording "small"; returns the file with its bytes. No test touches the network."""
    source = example().save(tmp_path / "source.npz")
    recording = recordings.Recording(
        file="small.npz",
        description="small",
        licence="MIT",
        source="test",
        reader="latentgate.data.storage:read",
        url="https://example.invalid/small.npz",
        sha256=recordings.sha256(source),
    )
    monkeypatch.setitem(RECORDINGS, "small", recording)
    monkeypatch.delenv("LATENTGATE_DATA", raising=False)
    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path / "cache"))
    return source


def refuse(*arguments, **options):
    raise ConnectionError("no connection")


def test_folder_first_then_cache(public, monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "_download", refuse)
    for name in ("folder", "cache", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "cache" / "small.npz").write_bytes(public.read_bytes())
    same(load("small"), example())
    assert recordings.find("small") == tmp_path / "cache" / "small.npz"
    monkeypatch.setenv("LATENTGATE_DATA", str(tmp_path / "folder"))
    assert recordings.find("small") == tmp_path / "cache" / "small.npz"
    (tmp_path / "folder" / "small.npz").write_bytes(public.read_bytes())
    assert recordings.find("small") == tmp_path / "folder" / "small.npz"
    monkeypatch.delenv("LATENTGATE_DATA")
    (tmp_path / "other" / "small.npz").write_bytes(public.read_bytes())
    assert recordings.find("small", cache=tmp_path / "other") == tmp_path / "other" / "small.npz"


def test_unavailable_says_where_it_looked_and_what_to_do(public, monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "_download", refuse)
    monkeypatch.setenv("LATENTGATE_DATA", str(tmp_path / "folder"))
    with pytest.raises(RecordingUnavailable) as caught:
        load("small")
    message = str(caught.value)
    for part in (
        str(tmp_path / "folder" / "small.npz"),
        str(tmp_path / "cache" / "small.npz"),
        "https://example.invalid/small.npz",
        "no connection",
        "LATENTGATE_DATA",
    ):
        assert part in message
    assert isinstance(caught.value, FileNotFoundError)
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(RecordingUnavailable, match="`download` is False"):
        load("small", download=False)


def test_without_pooch(public, monkeypatch):
    monkeypatch.setattr(finding.importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("LATENTGATE_CACHE")
    with pytest.raises(RecordingUnavailable, match="pooch is not installed"):
        load("small")


def test_wrong_bytes_in_the_folder(public, monkeypatch, tmp_path):
    (tmp_path / "small.npz").write_bytes(public.read_bytes() + b"x")
    monkeypatch.setenv("LATENTGATE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="SHA-256"):
        load("small")


def test_wrong_bytes_in_the_cache_are_never_used(public, monkeypatch, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "small.npz").write_bytes(b"x")
    monkeypatch.setattr(finding, "_download", refuse)
    with pytest.raises(RecordingUnavailable, match="SHA-256 is wrong"):
        load("small")


def test_download_goes_to_the_cache_and_is_checked(public, monkeypatch, tmp_path):
    pooch = pytest.importorskip("pooch")
    served = [public.read_bytes()]

    class Downloader:
        def __init__(self, **options):
            pass

        def __call__(self, url, output_file, pooch, check_only=False):
            assert url == "https://example.invalid/small.npz"
            Path(output_file).write_bytes(served[0])

    monkeypatch.setattr(pooch, "HTTPDownloader", Downloader)
    same(load("small"), example())
    assert (tmp_path / "cache" / "small.npz").is_file()
    served[0] = b"another file"
    same(load("small"), example())
    (tmp_path / "cache" / "small.npz").unlink()
    with pytest.raises(ValueError, match="wrong SHA-256"):
        load("small")
    assert not (tmp_path / "cache" / "small.npz").exists()


def test_offline_says_what_is_missing_then_what_to_do_then_where_it_looked(public, tmp_path):
    # No domain under .invalid exists, with or without a connection: the refusal is the real one.
    with pytest.raises(RecordingUnavailable) as caught:
        load("small")
    message = str(caught.value)
    order = (
        "small.npz of the recording 'small' is not on this machine",
        "the download failed",
        "Download https://example.invalid/small.npz",
        "Put it",
        "LATENTGATE_DATA",
        "Looked for it in",
        str(tmp_path / "cache" / "small.npz"),
    )
    places = [message.index(part) for part in order]
    assert places == sorted(places)
    assert message.count("https://example.invalid") == 1
    assert " at 0x" not in message


@pytest.mark.parametrize(("name", "nearest"), [("rat_insular", "rat_insula"), ("Lorenz_spike", "lorenz_spikes"), ("rat_insula.npz", "rat_insula")])
def test_misspelt_names(name, nearest):
    with pytest.raises((ValueError, FileNotFoundError), match=f"Did you mean '{nearest}'"):
        load(name)


def test_plain_arrays(tmp_path):
    rng = np.random.default_rng(0)
    values, inputs, lengths = rng.poisson(1.0, (7, 3)), rng.normal(size=(7, 2)), [3, 4]
    path = tmp_path / "plain.npz"
    np.savez(path, anything=values)
    assert [rows.tolist() for rows in load(path, bin_width=0.1).to_list()] == [values.tolist()]
    assert load(path, bin_width=0.1).bin_width == 0.1
    np.savez(path, anything=np.stack([values, 2 * values]))
    assert [rows.tolist() for rows in load(path).to_list()] == [values.tolist(), (2 * values).tolist()]
    np.savez(path, values=values, inputs=inputs, lengths=lengths)
    data = load(path)
    assert [rows.tolist() for rows in data.to_list()] == [values[:3].tolist(), values[3:].tolist()]
    np.testing.assert_array_equal(data.inputs["inputs"][1], inputs[3:])
    np.savez(path, values=values[None][[0, 0]], inputs=inputs[None][[0, 0]], lengths=[2, 7])
    data = load(path)
    assert [rows.tolist() for rows in data.to_list()] == [values[:2].tolist(), values.tolist()]
    np.testing.assert_array_equal(data.inputs["inputs"][0, :2], inputs[:2])
    with pytest.raises(TypeError, match=r"`bin_width`.*kept it"):
        load(example().save(tmp_path / "own.npz"), bin_width=0.1)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"counts": np.zeros((4, 2)), "hand": np.zeros((4, 3))}, r"It has: counts \(4, 2\) float64, hand .*from_arrays\(\[arrays\['counts'\]\]"),
        ({"counts": np.zeros((5, 4, 2)), "x": np.zeros(5)}, r"from_arrays\(arrays\['counts'\]"),
        ({"spikes": np.zeros(9)}, r"It has: spikes \(9,\) float64"),
        ({"values": np.zeros((2, 3, 1)), "lengths": np.array([3, 4])}, r"`lengths` .*is \[3, 4\]; expected 2 integers.*from 1 to the 3 steps"),
        ({"values": np.zeros((3, 1)), "inputs": np.zeros((4, 1))}, r"`inputs` .*has shape \(4, 1\) and `values` \(3, 1\)"),
        ({"trials": np.array([np.zeros(2), np.zeros(3)], object)}, r"Python objects under 'trials', which are pickled and never read.*numpy.savez"),
    ],
)
def test_plain_arrays_that_are_not_clear(tmp_path, arrays, message):
    np.savez(tmp_path / "plain.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "plain.npz")


def run_line(message):
    """Runs the lines that an error shows, after "Read it"."""
    line = message.partition("Read it")[2].partition(": ")[2].partition(", for ")[0]
    space = {"numpy": np, "lg": latentgate, "__builtins__": __builtins__}
    exec(line.replace("bin_width=...", "bin_width=0.1").removesuffix("."), space)
    return space["data"]


def test_the_lines_that_errors_show_run(tmp_path):
    from scipy.io import savemat

    h5py = pytest.importorskip("h5py")
    counts = np.random.default_rng(0).poisson(1.0, (6, 3)).astype(float)
    savemat(tmp_path / "old.mat", {"bins": 0.1, "counts": counts})
    with pytest.raises(ValueError, match=r"It has: bins \(1, 1\) double, counts \(6, 3\) double") as caught:
        load(tmp_path / "old.mat")
    np.testing.assert_array_equal(run_line(str(caught.value)).values[0], counts)
    with h5py.File(tmp_path / "new.mat", "w", userblock_size=512) as file:
        file["counts"] = counts.T
    with open(tmp_path / "new.mat", "r+b") as file:
        # The header that MATLAB writes before the HDF5 part.
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    with pytest.raises(ValueError, match=r"version 7\.3") as caught:
        load(tmp_path / "new.mat")
    np.testing.assert_array_equal(run_line(str(caught.value)).values[0], counts)
    np.savez(tmp_path / "two.npz", counts=counts, hand=counts)
    with pytest.raises(ValueError, match="which of its arrays") as caught:
        load(tmp_path / "two.npz")
    np.testing.assert_array_equal(run_line(str(caught.value)).values[0], counts)
    (tmp_path / "table.csv").write_text("trial,time,neuron 1,neuron 2\n0,0,1,2\n0,1,3,4\n")
    with pytest.raises(ValueError, match=r"table\.csv is a table") as caught:
        load(tmp_path / "table.csv")
    message = str(caught.value).replace(", with the names", ", for ")
    assert run_line(message).values[0].tolist() == [[1, 2], [3, 4]]


def test_other_files(tmp_path):
    for name, message in {
        "a.pkl": "runs code",
        "a.npy": r"numpy\.load",
        "a.foo": r"suffix \.foo; expected \.npz, \.nc or \.nwb",
        "a.mat": "no MATLAB file",
        "a": "no suffix",
    }.items():
        (tmp_path / name).write_bytes(b"neither of these" * 20)
        with pytest.raises(ValueError, match=message):
            load(tmp_path / name)
    with pytest.raises(ValueError, match=r"is a folder.*LATENTGATE_DATA"):
        load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.nwb"):
        load(tmp_path / "nowhere.nwb")
    from scipy.io import savemat

    savemat(tmp_path / "rat_insula.mat", {"RAW": np.zeros((2, 2))})
    with pytest.raises(ValueError, match=r"lg\.load\('rat_insula'\)"):
        load(tmp_path / "rat_insula.mat")


def test_unknown_names_and_options(tmp_path):
    with pytest.raises(ValueError, match=r"'rat_insular'.*'rat_insula', 'simulated_insula'"):
        load("rat_insular")
    with pytest.raises(TypeError, match=r"`bins`.*bin_width, minimum_rate, overlap"):
        load("rat_insula", bins=3)
    with pytest.raises(TypeError, match=r"`bin_width`.*none"):
        load("simulated_insula", bin_width=0.1)
    path = example().save(tmp_path / "data.npz")
    with pytest.raises(TypeError, match="`bin_width`"):
        load(path, bin_width=0.1)


def test_registry_pins_what_it_downloads():
    for recording in RECORDINGS.values():
        assert (recording.url is None) == (recording.sha256 is None)
        if recording.sha256 is not None:
            assert len(recording.sha256) == 64


def test_bundled_is_found_in_a_wheel_and_in_a_checkout(monkeypatch, tmp_path):
    monkeypatch.delenv("LATENTGATE_DATA", raising=False)
    package = tmp_path / "latentgate"
    (package / "data").mkdir(parents=True)
    monkeypatch.setattr(finding, "__file__", str(package / "data" / "finding.py"))
    with pytest.raises(RecordingUnavailable, match=r"python -m latentgate\.data\.bundled.*_bundled"):
        load("simulated_insula")
    for folder in (tmp_path / "data", package / "_bundled"):
        folder.mkdir()
        example().save(folder / "simulated_insula.npz")
        assert recordings.find("simulated_insula").parent == folder
    same(load("simulated_insula"), example())


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_converted_by_hand(monkeypatch, tmp_path, suffix):
    content = b"1,2,3\n"
    conversion = recordings.Conversion("Write the numbers 1, 2 and 3.", hashlib.sha256(content).hexdigest())
    file = f"three.csv{suffix}"
    three = recordings.Recording(file, "three", "MIT", "test", "tests.data.test_recordings:read_three", conversion=conversion)
    assert three.files == (recordings.RecordingFile(file, conversion=conversion),)
    monkeypatch.setitem(RECORDINGS, "three", three)
    monkeypatch.setenv("LATENTGATE_DATA", str(tmp_path / "folder"))
    monkeypatch.setenv("LATENTGATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(finding, "_download", refuse)
    with pytest.raises(
        RecordingUnavailable,
        match=r"no address that could be downloaded.*by hand: Write the numbers 1, 2 and 3\. Put it at .*folder/three.*Looked for.*LATENTGATE_DATA.*cache",
    ):
        load("three")
    for folder in ("cache", "folder"):
        (tmp_path / folder).mkdir()
        # Levels of compression differ between programs; what is in the file does not.
        path = tmp_path / folder / file
        path.write_bytes(gzip.compress(content, compresslevel=1 if folder == "cache" else 9) if suffix else content)
        assert recordings.find("three") == path
        assert load("three").values[0, :, 0].tolist() == [1, 2, 3]
    path.write_bytes(gzip.compress(b"4") if suffix else b"4")
    with pytest.raises(ValueError, match=r"SHA-256.*Write the numbers"):
        load("three")


def read_three(path):
    return latentgate.data.Sequences.from_arrays([np.loadtxt(path, delimiter=",")])


def test_only_what_ships_has_neither_address_nor_conversion():
    bundled = {name for name, recording in RECORDINGS.items() for file in recording.files if file.url is None and file.conversion is None}
    assert bundled == {"simulated_insula"}
    for recording in RECORDINGS.values():
        for file in recording.files:
            assert file.url is None or file.conversion is None
            assert file.conversion is None or len(file.conversion.sha256) == 64


def test_import_is_light():
    code = "import sys, jax; before = set(sys.modules); import latentgate.data; print(*set(sys.modules) - before)"
    environment = os.environ | {"PYTHONPATH": str(Path(latentgate.data.__file__).parents[2])}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    heavy = {"scipy.io", "pooch", "requests", "xarray", "h5netcdf", "netCDF4", "pandas"}
    assert not heavy & set(run.stdout.split())


def test_recordings_are_the_named_ones():
    assert {"rat_insula", "simulated_insula"} <= set(RECORDINGS)
    assert np.all([recording.licence for recording in RECORDINGS.values()])
