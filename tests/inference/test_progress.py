"""When a progress bar is shown, and that it says what it is told."""

import importlib.util
import sys

import pytest

from latentgate.inference.progress import bar, wanted


@pytest.mark.parametrize(("notebook", "widgets", "expected"), [(False, True, False), (True, False, False), (True, True, True)])
def test_notebooks_show_bars_only_if_they_can(monkeypatch, notebook, widgets, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    if notebook:
        monkeypatch.setitem(sys.modules, "ipykernel", sys)
    else:
        monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if widgets else None)
    assert wanted(None) is expected
    assert wanted(True) is True
    assert wanted(False) is False


def test_bar_writes_to_standard_error_only(capsys):
    with bar("EM", 10, True) as report:
        report(4, "halfway there")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "EM" in captured.err
    assert "halfway there" in captured.err


def test_silence(capsys):
    with bar("EM", 10, False) as report:
        report(4, "halfway there")
    assert capsys.readouterr() == ("", "")
