"""The README's examples run as they are printed."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"


def run_example(number, folder, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    code = blocks[number]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})


def test_example_runs(tmp_path, monkeypatch, capsys):
    run_example(0, tmp_path, monkeypatch)
    assert (tmp_path / "states.png").stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "occupancy" in printed
    assert float(re.search(r"(\S+) bits per spike", printed)[1]) > 0.03


def test_jump_process_runs(tmp_path, monkeypatch, capsys):
    run_example(1, tmp_path, monkeypatch)
    assert (tmp_path / "rates.png").stat().st_size > 5_000
    assert "estimate" in capsys.readouterr().out


def test_mixture_of_experts_runs(tmp_path, monkeypatch, capsys):
    run_example(2, tmp_path, monkeypatch)
    assert (tmp_path / "experts.png").stat().st_size > 5_000
    assert "Converged" in capsys.readouterr().out


def test_langevin_flow_runs(tmp_path, monkeypatch, capsys):
    run_example(3, tmp_path, monkeypatch)
    assert float(re.search(r"held out: (\S+) bits", capsys.readouterr().out)[1]) > 0.2


def test_what_it_points_to_exists():
    text = README.read_text(encoding="utf-8")
    paths = re.findall(r"\]\((docs/[^)]*)\)", text) + re.findall(r"`((?:notebooks|latentgate|data|tests|benchmarks)/?[\w./]*)`", text)
    assert len(paths) > 10
    for path in paths:
        assert (README.parent / path).exists(), path
