"""The report of a run: complete, self-contained, and safe against hostile names."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from napari_ppn2v.pipeline.run_summary import run_folder_of
from tests.cli.conftest import BRIEF, write

HOSTILE = "a<script>alert(1)<&'.ome.tif"


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words, self.alts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "href", "action", "data"):
                self.addresses.append(value)
            if name == "alt":
                self.alts.append(value)
            assert not name.startswith("on")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def reported(run, finished):
    out, _ = finished
    result = run("report", out, "--device cpu --threads 1")
    assert result.exit_code == 0, result.output
    text = (out / "report.html").read_text(encoding="utf-8")
    return out, result, text, Page(text)


def test_the_page_and_its_figures_are_written_beside_the_run(reported):
    out, result, _, _ = reported
    assert result.stdout.strip() == str(out / "report.html")
    plain = json.loads((out / "report.json").read_text(encoding="utf-8"))
    channel = plain["channels"]["0"]
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert plain["run"]["settings"] == record["settings"]
    assert plain["run"]["data"] == record["data"]
    names = {each["name"] for each in channel["result_findings"]}
    assert {"leftover structure", "whiteness", "expected error"} <= names
    assert len(channel["data_findings"]) > 3
    assert len(channel["expected_errors"]["per_image"]) == 2


def test_the_page_loads_nothing_and_runs_nothing(reported):
    _, _, text, page = reported
    assert page.addresses
    assert all(each.startswith("data:image/png;base64,") for each in page.addresses)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert "default-src 'none'" in text
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_every_picture_comes_for_light_and_dark_screens_with_a_caption(reported):
    *_, page = reported
    pictures = page.tags.count("picture")
    assert pictures >= 5
    assert page.tags.count("source") == page.tags.count("img") == pictures
    assert len(set(page.addresses)) == 2 * pictures
    assert all(len(each) > 20 for each in page.alts)


def test_the_page_answers_the_questions_in_words(reported):
    *_, page = reported
    for question in (
        "Were the data fit for it?",
        "Can the result be believed?",
        "How far is it from the truth?",
        "For the methods section",
    ):
        assert question in page.text
    assert "Prakash" in page.text
    assert "bootstrapped" in page.text
    assert "noisy.ome.tif" in page.text


def test_result_and_model_lead_to_their_run(finished, tmp_path):
    out, _ = finished
    assert run_folder_of(out) == out
    assert run_folder_of(out / "noisy_denoised.ome.tif") == out
    beside = tmp_path / "cells.ppn2v-run"
    shutil.copytree(out, beside)
    assert run_folder_of(tmp_path / "cells.ome.tif") == beside
    assert run_folder_of(tmp_path / "cells.ppn2v") == beside


def test_hostile_file_names_are_text_and_nothing_else(run, stack, tmp_path):
    noisy = write(tmp_path / HOSTILE, stack.observation)
    out = tmp_path / "run"
    result = run("denoise", noisy, "-o", out, BRIEF, "--report")
    assert result.exit_code == 0, result.output
    text = (out / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert HOSTILE in page.text
    assert f"Report: {out / 'report.html'}" in result.stderr


def test_images_that_are_gone_leave_a_report_that_says_so(run, finished, tmp_path):
    out, _ = finished
    moved = tmp_path / "run"
    shutil.copytree(out, moved)
    record = json.loads((moved / "run.json").read_text(encoding="utf-8"))
    record["request"]["noisy"] = [str(tmp_path / "gone.ome.tif")]
    (moved / "run.json").write_text(json.dumps(record), encoding="utf-8")
    result = run("report", moved, "--threads 1")
    assert result.exit_code == 0, result.output
    page = Page((moved / "report.html").read_text(encoding="utf-8"))
    assert "nothing is checked" in page.text
    assert "Training" in page.text


def test_noise2void_has_a_report_without_a_check_of_the_residual(run, noisy, tmp_path):
    out = tmp_path / "run"
    words = "--preset fast --steps 6 --method n2v --device cpu --threads 1 --report"
    result = run("denoise", noisy, "-o", out, words)
    assert result.exit_code == 0, result.output
    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert "no noise model" in page.text
    assert "Noise2Void" in page.text


def test_a_folder_without_a_run_is_refused(run, tmp_path):
    result = run("report", tmp_path / "nothing")
    assert result.exit_code == 2
    assert "no record of a run" in result.stderr


def test_an_unfinished_run_is_refused(run, finished, tmp_path):
    out, _ = finished
    moved = tmp_path / "run"
    shutil.copytree(out, moved)
    record = json.loads((moved / "run.json").read_text(encoding="utf-8"))
    record["status"] = "stopped"
    (moved / "run.json").write_text(json.dumps(record), encoding="utf-8")
    result = run("report", moved)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
