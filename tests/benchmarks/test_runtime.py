"""The comparison of denoising times runs every pair and writes what it measured."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch

# The benchmarks are scripts beside the package, not part of it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evidence import classical, runtime


def test_every_network_is_timed_against_every_filter(tmp_path, capsys):
    threads = torch.get_num_threads()
    runtime.main(["--out", str(tmp_path), "--side", "32", "--repeats", "1"])
    with (tmp_path / "runtime.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    methods = runtime.filters()
    assert len(rows) == 4 * len(methods)
    assert {row["filter"] for row in rows} == {name for name, _, _ in methods}
    for row in rows:
        slow, fast = (
            float(row[f"{what}, CPU s per megapixel"]) for what in ("filter", "network")
        )
        assert float(row["network times faster"]) == pytest.approx(slow / fast)
    page = (tmp_path / "runtime.md").read_text(encoding="utf-8")
    assert "image of 32²" in page
    assert "image of 32²" in capsys.readouterr().out
    assert torch.get_num_threads() == threads


def test_bm3d_is_left_out_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    names = {name for name, _, _ in runtime.filters()}
    assert names == {classical.FILTERS["nlm"].label}
