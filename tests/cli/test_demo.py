"""`latentgate demo`: a whole demonstration, and what is said when the recording cannot be had."""

import base64
import json
import re
import time
from pathlib import Path

import numpy as np
import pytest

import latentgate as lg
from latentgate import cli
from latentgate.data import RecordingUnavailable, recordings
from latentgate.demonstration import recording
from latentgate.inference import Outcome

from .running import run


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One quick demonstration: exit code, standard output and error, folder."""
    folder = tmp_path_factory.mktemp("demo") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("LATENTGATE_DATA", raising=False)
        done = run("demo", "--quick", "--json", "--pictures", "--recording", "simulated_insula", "--out", folder)
    return *done, folder


def test_demo_ends_well(demo):
    code, out, err, folder = demo
    assert code == cli.DONE, err
    numbers = json.loads(out)
    assert numbers["recording"]["name"] == "simulated_insula"
    assert numbers["recording"]["simulated"] is True
    assert Path(numbers["report"]) == folder / "report.html"
    assert numbers["num_held_out"] == 6
    assert set(numbers["bits_per_spike"]) == {"one-state GLM", "HMM-GLM (ridge)", "one-hot HMM-GLM"}
    assert numbers["bits_per_spike"]["one-hot HMM-GLM"] > numbers["bits_per_spike"]["one-state GLM"] > 0
    assert numbers["state_accuracy"] > 0.6
    assert all(record["outcome"] in Outcome.__members__ for records in numbers["restarts"].values() for record in records)
    assert not any(Outcome[record["outcome"]].failed for records in numbers["restarts"].values() for record in records)


def test_demo_tells_its_stages_on_standard_error(demo):
    err = demo[2]
    assert "recording simulated_insula: asked for by name" in err
    assert err.index("fitting the one-state GLM") < err.index("fitting the one-hot HMM-GLM") < err.index("decoding states") < err.index("done")


def test_report_stands_alone_and_is_complete(demo):
    _, out, _, folder = demo
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"base64,[^\"]*", "", text)
    assert not re.search(r"<(script|link|iframe)", text)
    pictures = [base64.b64decode(code) for code in re.findall(r"data:image/png;base64,([^\"]*)", text)]
    assert len(pictures) == 7
    assert all(content.startswith(b"\x89PNG") for content in pictures)
    assert sorted(pictures) == sorted(path.read_bytes() for path in (folder / "pictures").iterdir())
    numbers = json.loads(out)
    for model, bits in numbers["bits_per_spike"].items():
        assert f"{model}</td><td class=number>{bits:.4f}" in text
    for records in numbers["restarts"].values():
        for record in records:
            assert Outcome[record["outcome"]].value in text
    assert re.search(r"State occupancy (differs|does not differ detectably)", text)
    assert re.search(r"it is better in \d of 6 trials", text)
    assert "Simulated, not measured" in text


def test_unknown_recording(tmp_path, capsys):
    assert cli.main(["demo", "--recording", "no_such", "--out", str(tmp_path)]) == cli.FAILED
    assert "no recording named 'no_such'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_known_before_any_work(tmp_path, capsys):
    occupied = tmp_path / "file"
    occupied.write_text("")
    assert cli.main(["demo", "--out", str(occupied)]) == cli.FAILED
    err = capsys.readouterr().err
    assert "File exists" in err
    assert "looking for the recording" not in err


def test_interruption(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("latentgate.demonstration.demonstrate", interrupted)
    assert cli.main(["demo", "--out", str(tmp_path)]) == cli.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err


FIND = recordings.find


def refuse(name, cache=None, download=True):
    if name != recording.REAL:
        return FIND(name, cache, download)
    raise RecordingUnavailable("it is nowhere; looked at https://somewhere") from ConnectionError()


def test_without_the_real_recording_the_simulated_one_is_used(monkeypatch):
    monkeypatch.setattr(recordings, "find", refuse)
    data, origin = recording.obtain(None)
    assert origin.name == recording.SIMULATED
    assert origin.simulated
    assert "because rat_insula cannot be had: it is neither in the folder" in origin.reason
    assert "download failed (ConnectionError)" in origin.reason
    assert "http" not in origin.reason
    assert data.num_sequences == 24


def test_a_recording_that_was_asked_for_is_not_replaced(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(recordings, "find", refuse)
    assert cli.main(["demo", "--recording", recording.REAL, "--out", str(tmp_path)]) == cli.FAILED
    assert "it is nowhere" in capsys.readouterr().err


def test_a_download_without_an_answer_does_not_hang(monkeypatch):
    def hang(name, cache=None, download=True):
        if name != recording.REAL:
            return FIND(name, cache, download)
        if download:
            time.sleep(5)
        raise RecordingUnavailable("not here")

    monkeypatch.setattr(recordings, "find", hang)
    monkeypatch.setattr(recording, "_DOWNLOAD_SECONDS", 0.05)
    start = time.perf_counter()
    _, origin = recording.obtain(None)
    assert time.perf_counter() - start < 3
    assert origin.name == recording.SIMULATED
    assert "did not end within" in origin.reason


def test_a_file_of_your_own(tmp_path):
    path = lg.Sequences.from_arrays([np.ones((4, 2))]).save(tmp_path / "mine.npz")
    data, origin = recording.obtain(str(path))
    assert data.num_features == 2
    assert origin.reason == "asked for by path"
