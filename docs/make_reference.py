"""Write the pages of the reference that are made from the code.

    python docs/make_reference.py          # or: make reference
    python docs/make_reference.py --check  # only say which pages are stale

Settings with their ranges, functions with their docstrings, events, errors and every
option of the command line are told once, in the code. A test compares the pages.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import sys
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import typer.models
from docstrings import described, documented, one_line, sections

import napari_ppn2v
from napari_ppn2v import errors, events, figures
from napari_ppn2v.cli.app import app
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.pipeline.config import (
    InferenceConfig,
    PriorConfig,
    RunConfig,
    TrainingConfig,
)
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent / "reference"
PROGRAM = "napari-ppn2v"
MADE = (
    "<!-- Made from the code by docs/make_reference.py (make reference); "
    "do not edit by hand. -->"
)

RESULTS = {
    "DataCheck": "pipeline.data_check",
    "ExportReport": "pipeline.export_job",
    "Finding": "core.checks.findings",
    "FittedNoiseModel": "core.noise_models.fitting",
    "Inspection": "pipeline.inspection",
    "RepeatsCheck": "pipeline.repeats_check",
    "ResultCheck": "pipeline.result_check",
    "TrainedRun": "pipeline.journeys",
    "Denoiser": "core.denoiser",
}
"""What the functions return -> the module that it is in."""

SETTINGS: dict[str, tuple[type, str]] = {
    "The run": (RunConfig, ""),
    "Training": (TrainingConfig, "training"),
    "Network": (UNetConfig, "network"),
    "Prior": (PriorConfig, "prior"),
    "Noise model": (NoiseModelConfig, "noise_model"),
    "Estimate": (InferenceConfig, "inference"),
}


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    is_check = parser.parse_args().check
    stale = stale_pages()
    for name in stale:
        if is_check:
            sys.stderr.write(f"docs/reference/{name} is stale: make reference\n")
        else:
            (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    sys.exit(1 if is_check and stale else 0)


def stale_pages() -> list[str]:
    """Names of the pages that do not say what the code says."""
    return [
        name
        for name, make in PAGES.items()
        if not (FOLDER / name).exists()
        or (FOLDER / name).read_text(encoding="utf-8") != make()
    ]


def page(title: str, introduction: str, parts: Iterator[str]) -> str:
    """One page, with a blank line between its parts."""
    return "\n\n".join([f"# {title}", MADE, introduction, *parts]).rstrip() + "\n"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Write rows as a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
        for line in lines
    )


def shown(value: Any) -> str:
    """Show a default as one writes it in Python."""
    return f"`{value!r}`"


def functions_page() -> str:
    """Every public function and class of the package."""

    def parts() -> Iterator[str]:
        public = [n for n in sorted(napari_ppn2v.__all__, key=str.lower) if n[0] != "_"]
        for name in public:
            yield from described(name, getattr(napari_ppn2v, name), "ppn2v.")
        yield "## What they return"
        for name, module in RESULTS.items():
            home = importlib.import_module(f"napari_ppn2v.{module}")
            yield from described(name, getattr(home, name), "", level=3)
        yield "## Figures"
        for name in figures.__all__:
            if inspect.isfunction(getattr(figures, name)):
                yield from described(name, getattr(figures, name), "figures.", level=3)

    introduction = (
        "Everything that `import napari_ppn2v as ppn2v` offers. "
        "[Python](python.md) is the overview, "
        "[the how-to](../how-to/python-arrays.md) shows it at work."
    )
    return page("Every function", introduction, parts())


def settings_page() -> str:
    """Every setting with its default and range, and what the presets change."""

    def parts() -> Iterator[str]:
        for title, (kind, field) in SETTINGS.items():
            yield f"## {title}"
            where = f"`config.{field}`" if field else "`config`"
            also = " and `pretraining`, `refinement`" if field == "training" else ""
            yield f"`{kind.__name__}`, in {where}{also}."
            yield table(
                ["setting", "default", "allowed", "in the viewer", "what it is"],
                [setting_row(item) for item in dataclasses.fields(kind)],
            )
        yield "## Presets"
        yield ("What each preset sets for its own method; all else is as above.")
        rows = [[f"`{name}`", differing(name)] for name in PRESET_NAMES]
        yield table(["preset", "sets"], rows)

    introduction = (
        "The settings of a run are frozen dataclasses. "
        '`config = ppn2v.preset("balanced")` gives one, `dataclasses.replace` changes '
        "it, `config=` of `denoise` and `train` takes it. `run.json` and the model "
        "keep them, and what is outside of its range is refused with a sentence. On "
        "the command line [options](options.md) set those that are changed most."
    )
    return page("Every setting", introduction, parts())


def setting_row(item: dataclasses.Field[Any]) -> list[str]:
    """One line of a table of settings; a group of settings names its section."""
    meta = item.metadata
    if not meta:
        name = getattr(item.type, "__name__", str(item.type))
        title = next(t for t, (kind, _) in SETTINGS.items() if kind.__name__ == name)
        link = f"[{title}](#{title.lower().replace(' ', '-')})"
        return [f"`{item.name}`", "", "", "", f"a group of its own: {link}"]
    unit = f" {meta['unit']}" if meta["unit"] else ""
    default = "automatic" if item.default is None else shown(item.default) + unit
    return [
        f"`{item.name}`",
        default,
        allowed(meta) or kind_of(item),
        meta["label"],
        one_line(meta["help"]),
    ]


def allowed(meta: Any) -> str:
    """Say in words what values a setting may take."""
    if meta["choices"] is not None:
        return ", ".join(f"`{choice}`" for choice in meta["choices"])
    low, high = (limit(meta[end]) for end in ("minimum", "maximum"))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def limit(value: float | None) -> str:
    """Write one end of a range; nothing where there is none."""
    return "" if value is None else f"{value:d}" if value % 1 == 0 else f"{value:g}"


def kind_of(item: dataclasses.Field[Any]) -> str:
    """Say what is to be given where no range is declared."""
    words = {"bool": "`True`, `False`", "str": "text", "float": "any number"}
    kind = str(item.type).removesuffix(" | None")
    return words.get(kind, kind.replace("tuple[float, float]", "two numbers"))


def differing(name: str) -> str:
    """List the settings in which a preset departs from the defaults."""
    plain, config = dict(flat(RunConfig())), preset(name)
    unused = {
        f"{group}."
        for group in ("pretraining", "training", "refinement")
        if getattr(config, group) not in config.stages.values()
        or (group == "training" and config.method != "pn2v")
    }
    found = [
        f"`{key}={value!r}`"
        for key, value in flat(config)
        if value != plain[key] and key != "preset" and not key.startswith((*unused,))
    ]
    return ", ".join(found) or "nothing"


def flat(config: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all settings, those of groups with a point in their name."""
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            yield from flat(value, f"{before}{item.name}.")
        else:
            yield before + item.name, value


def events_page() -> str:
    """Every event with its fields."""

    def parts() -> Iterator[str]:
        for name, kind in vars(events).items():
            if not (inspect.isclass(kind) and issubclass(kind, events.Event)):
                continue
            yield f"## `{name}`"
            yield from documented(kind)
            rows = [
                [
                    f"`{item.name}`",
                    f"`{item.type}`",
                    ""
                    if item.default is dataclasses.MISSING
                    else f"`{item.default!r}`",
                ]
                for item in dataclasses.fields(kind)
            ]
            if rows:
                yield table(["field", "type", "default"], rows)

    introduction = (
        "Frozen dataclasses in `napari_ppn2v.events`. `on_event` of the functions of "
        "[the Python interface](functions.md) is called with each, in the thread of "
        "the call; the viewer and the progress of the command line are made of them. "
        "Every run begins its stages with `StageStarted` and ends them with "
        "`StageFinished`."
    )
    return page("Events", introduction, parts())


def errors_page() -> str:
    """Every error of ours."""

    def parts() -> Iterator[str]:
        kinds = [
            kind
            for kind in vars(errors).values()
            if inspect.isclass(kind) and issubclass(kind, errors.PPN2VError)
        ]

        def first_words(kind: type) -> str:
            return one_line(" ".join(sections(inspect.getdoc(kind) or "")[""]))

        yield table(
            ["error", "is raised if"],
            [[f"`{kind.__name__}`", first_words(kind)] for kind in kinds],
        )
        yield (
            "A run on files whose error has `is_resumable` goes on where it was, with "
            "its settings, once the cause is mended: `--resume` on the command line."
        )
        yield (
            "Anything else that is raised is a fault of this program. The viewer shows "
            "it as `RunFailed`; please report it with the script of Copy as Python, or "
            "the command."
        )

    introduction = (
        "All are in `napari_ppn2v.errors` and derive from `ppn2v.PPN2VError`, so one "
        "`except` is enough. Their text is written for the person at the microscope: "
        "what happened, the figures, what to do next; show it as it is. The command "
        "line prints it and ends with status 2. "
        "[When images or settings are refused](../how-to/messages.md) goes through the "
        "usual ones."
    )
    return page("Errors", introduction, parts())


def options_page() -> str:
    """Every command with its arguments and options."""
    introduction = (
        "What `--help` says of each command. [Command line](command-line.md) is the "
        "overview: output files, exit status, stopping and going on."
    )
    return page("Every option", introduction, commands_of(PROGRAM, app))


def commands_of(name: str, group: typer.Typer, level: int = 2) -> Iterator[str]:
    """Parts of the page for the commands of a group, and of the groups below it.

    Read from what typer was told, which is the same in all its versions.
    """
    for command in sorted(group.registered_commands, key=command_name):
        called = f"{name} {command_name(command)}"
        yield f"{'#' * level} `{called.removeprefix(PROGRAM).strip()}`"
        yield help_text(inspect.getdoc(command.callback) or "")
        rows = list(option_rows(command.callback))
        if rows:
            yield table(["argument or option", "default", "meaning"], rows)
    for below in group.registered_groups:
        title, inner = f"{name} {below.name}", below.typer_instance
        yield f"{'#' * level} `{title.removeprefix(PROGRAM).strip()}`"
        yield one_line(inner.info.help)
        yield from commands_of(title, inner, level + 1)


def command_name(command: Any) -> str:
    """Name of a command as one types it."""
    return command.name or command.callback.__name__.replace("_", "-")


def help_text(text: str) -> str:
    """Help of a command, its examples as one block."""
    kept, examples = list[str](), list[str]()
    for block in text.split("\n\n"):
        is_call = block.strip().startswith(PROGRAM)
        (examples if is_call else kept).append(one_line(block))
    kept = [block for block in kept if block != "For example:"]
    if examples:
        kept.append("```bash\n" + "\n".join(examples) + "\n```")
    return "\n\n".join(kept)


def option_rows(callback: Any) -> Iterator[list[str]]:
    """Lines of the table of a command's arguments and options."""
    hints = typing.get_type_hints(callback, include_extras=True)
    for name, item in inspect.signature(callback).parameters.items():
        kind, info = typing.get_args(hints[name])[:2]
        yield [
            name_in_table(name, kind, info),
            "required" if item.default is item.empty else default_shown(item.default),
            one_line(info.help),
        ]


def name_in_table(name: str, kind: Any, info: Any) -> str:
    """Write what one types: the option with a word for its value, or the argument."""
    if isinstance(info, typer.models.ArgumentInfo):
        many = "..." if "list" in str(kind) else ""
        return f"`{(info.metavar or name).upper()}{many}`"
    # typer takes the first name of an option for its default
    told = (info.default, *(info.param_decls or ()))
    names = [str(each) for each in told if str(each).startswith("-")]
    names = sorted(names, key=len, reverse=True) or [f"--{name.replace('_', '-')}"]
    return ", ".join(
        f"`{each}{'' if number else value_word(kind, info)}`"
        for number, each in enumerate(names)
    )


def value_word(kind: Any, info: Any) -> str:
    """Word for the value of an option, none for a switch."""
    if info.metavar:
        return f" {info.metavar.replace('|', '/')}"  # no | in tables
    words = {"bool": "", "int": " N", "float": " NUMBER", "Path": " FILE"}
    return next((word for key, word in words.items() if key in str(kind)), " TEXT")


def default_shown(value: Any) -> str:
    """Show a default as one types it; nothing where the help tells."""
    return "" if value is None or value is False else f"`{value}`"


PAGES: dict[str, Callable[[], str]] = {
    "errors.md": errors_page,
    "events.md": events_page,
    "functions.md": functions_page,
    "options.md": options_page,
    "settings.md": settings_page,
}

if __name__ == "__main__":
    main()
