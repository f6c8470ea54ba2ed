"""Every bad input is refused with its error, its figures and a next step."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from .bad_inputs import CASES, message_of

ROOT = Path(__file__).parents[2]
NEXT_STEPS = {
    *("apply", "begin", "check", "choose", "copy", "crop", "export", "fit", "free"),
    *(
        "get",
        "give",
        "install",
        "leave",
        "make",
        "must",
        "name",
        "put",
        "replace",
        "report",
    ),
    *("save", "start", "subtract", "train", "try", "update", "use"),
}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.what)
def test_a_bad_input_is_refused_with_figures_and_a_next_step(case, tmp_path):
    message = message_of(case, tmp_path)
    assert re.search(case.figures, message), message
    words = set(re.findall(r"[a-z]+", message.lower()))
    assert words & NEXT_STEPS, f"no next step: {message}"
    assert "Traceback" not in message


def test_all_kinds_of_bad_input_have_their_own_words():
    assert len({case.what for case in CASES}) == len(CASES)


def test_the_page_of_messages_is_up_to_date(tmp_path):
    path = ROOT / "docs" / "make_messages.py"
    spec = importlib.util.spec_from_file_location("make_messages", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (ROOT / "docs" / "reference" / "messages.md").read_text(encoding="utf-8")
    assert page == module.page(tmp_path), "run python docs/make_messages.py"
