"""The page of the data check: made from its rows alone."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from common import describe_machine, markdown_table
from evidence.ledger import write_rows
from evidence.tables import write_page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from data_check_faults import Fault
    from evidence.ledger import Row

NAME = "data-check"
DRAWN = (
    "They are of sCMOS, EMCCD and Gaussian cameras, unrounded and 8 bit ones, with 0.5 "
    "to 30 grey values per electron, 5 to 2000 electrons at the peak, 64 to 256 pixels "
    "on a side, 1 to 60 frames; of filaments, nuclei, points of 0.8 and 1.4 pixels, "
    "lines of 5 to 12 pixels, and even light; static, moving, and a new scene in each "
    "frame. Calibrations with images are 1.2 times as bright as these, and a few of 8 "
    "bit are cut by that. The seed is not that with which thresholds were chosen."
)
CLEAN = ("clean stack", "clean calibration", "calibration with images")


def write_results(
    out: Path, rows: Sequence[Row], faults: Sequence[Fault], questions: Sequence[str]
) -> None:
    """Write CSV and page."""
    write_rows(out / f"{NAME}.csv", rows)
    machine = "; ".join(f"{key}: {value}" for key, value in describe_machine().items())
    write_page(
        out / f"{NAME}.md",
        "The data check: how often it is right",
        "What is asked and by which thresholds stands in [the data check]"
        "(../explanation/data-check.md). A finding counts as told if its verdict is "
        "“careful” or “will not work”.",
        _summary(rows, faults, questions),
        "## Real recordings",
        _table([_real(row) for row in _of(rows, "real")]),
        "## False alarms",
        f"{len(_of(rows, CLEAN[0]))} clean stacks, {len(_of(rows, CLEAN[1]))} clean "
        f"calibrations, {len(_of(rows, CLEAN[2]))} calibrations with their images. "
        + DRAWN,
        markdown_table(_alarms(rows, questions)),
        "## Sensitivity",
        "Each fault is added to stacks like the clean ones. “Other findings” are those "
        "told beside the one that names the fault, in a third of the stacks or more; "
        "many are true as well (JPEG smooths). Motion and drift are told by what they "
        "add to the variance of the noise: motion of a pixel often adds little. Stacks "
        "too short for the question do not count.",
        markdown_table(_sensitivity(rows, faults, questions)),
        "## Time",
        _times(rows),
        machine,
    )


def _table(rows: list[dict[str, str]]) -> str:
    return markdown_table(rows) if rows else "Not run."


def _of(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]


def _is_told(row: Row, question: str) -> bool:
    return row.get(question, "") not in ("", "fine")


def _summary(
    rows: Sequence[Row], faults: Sequence[Fault], questions: Sequence[str]
) -> str:
    clean = [row for part in CLEAN for row in _of(rows, part)]
    alarmed = sum(any(_is_told(row, each) for each in questions) for row in clean)
    per_question = [
        (
            sum(_is_told(row, each) for row in clean),
            sum(bool(row[each]) for row in clean),
        )
        for each in questions
    ]
    worst = max((told / judged for told, judged in per_question if judged), default=0.0)
    found = judged = 0
    for fault in faults:
        for row in _of(rows, "fault"):
            if row["name"] == fault.name and _is_judged(row, fault):
                judged += 1
                found += any(_is_told(row, each) for each in fault.questions)
    real = _of(rows, "real")
    right = sum(row["as_known"] == "yes" for row in real)
    return (
        f"**{right} of {len(real)}** real recordings are judged as their origin says. "
        f"**{_percent(found, judged)}** of {judged} faulty stacks are told by the "
        f"right finding, at all strengths together. Of {len(clean)} clean recordings "
        f"**{_percent(alarmed, len(clean))}** get any finding at all; the largest "
        f"false-alarm rate of one finding is {100 * worst:.1f} %."
    )


def _is_judged(row: Row, fault: Fault) -> bool:
    return any(row.get(each, "") for each in fault.questions)


def _real(row: Row) -> dict[str, str]:
    return {
        "recording": row["name"],
        "what is known": row["known"],
        "verdict": row["overall"],
        "told": row["told"] or "nothing",
        "as known": row["as_known"],
    }


def _alarms(rows: Sequence[Row], questions: Sequence[str]) -> list[dict[str, str]]:
    table = []
    for question in questions:
        cells = {"finding": question}
        for part in CLEAN:
            judged = [row for row in _of(rows, part) if row[question]]
            told = [row for row in judged if _is_told(row, question)]
            cells[part] = _count(len(told), len(judged))
        if any(cells[part] != "not asked" for part in CLEAN):
            table.append(cells)
    return table


def _sensitivity(
    rows: Sequence[Row], faults: Sequence[Fault], questions: Sequence[str]
) -> list[dict[str, str]]:
    table = []
    for fault in faults:
        for strength in fault.strengths:
            own = [
                row
                for row in _of(rows, "fault")
                if row["name"] == fault.name and row["strength"] == strength
            ]
            judged = [row for row in own if _is_judged(row, fault)]
            told = sum(
                any(_is_told(r, each) for each in fault.questions) for r in judged
            )
            others = [
                each
                for each in questions
                if each not in fault.questions
                and sum(_is_told(row, each) for row in own) >= len(own) / 3
            ]
            table.append(
                {
                    "fault": fault.name,
                    "strength": f"{strength:g} ({fault.unit})",
                    "told by": " or ".join(fault.questions),
                    "told": _count(told, len(judged)),
                    "other findings": ", ".join(others),
                }
            )
    return table


def _count(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else "not asked"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(whole, 1):.1f} %"


def _times(rows: Sequence[Row]) -> str:
    words = []
    for name, text in (
        ("check", "The check of 100 frames of 1024 x 1024 pixels (uint16, in memory)"),
        ("before training", "The glance before training at the same"),
    ):
        own = [row for row in _of(rows, "time") if row["name"] == name]
        if not own:
            continue
        seconds = statistics.median(row["seconds"] for row in own)
        cpu = statistics.median(row["cpu_seconds"] for row in own)
        words.append(
            f"{text} takes {seconds:.1f} s, {cpu:.1f} s of one processor "
            f"(median of {len(own)})."
        )
    return " ".join(words)
