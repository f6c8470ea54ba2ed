"""How a Python script is written: arrays, settings, imports."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v.errors import BadSetting, PPN2VError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_ppn2v.pipeline.config import RunConfig

INDENT = "    "
_PLUGIN = "napari-ppn2v"


@dataclass(frozen=True, kw_only=True)
class ArraySource:
    """Where an array of the viewer comes from, so that a script can get it again.

    Attributes
    ----------
    axes : one letter of "TZCYX" for each axis
    layer : name of its layer
    path : file the layer was read from, "" if none
    sample : (plugin, key) of the sample it belongs to, None if none
    is_multiscale : whether the layer holds several resolutions, of which the finest is
        used
    shape, dtype : of the array; a file that reads otherwise is not used
    """

    axes: str
    layer: str
    path: str = ""
    sample: tuple[str, str] | None = None
    is_multiscale: bool = False
    shape: tuple[int, ...] = ()
    dtype: str = ""

    @property
    def is_our_sample(self) -> bool:
        """Whether it is a sample that this package brings."""
        return self.sample is not None and self.sample[0] == _PLUGIN

    def is_read_from_file(self) -> bool:
        """Whether the file alone, read by this package, gives the same array."""
        if not self.path:
            return False
        from napari_ppn2v.files.images import open_image

        try:
            found = open_image(self.path)
        except PPN2VError:
            return False
        return found.shape == tuple(self.shape) and str(found.dtype) == self.dtype


class Script:
    """Lines of a script and the imports that they need."""

    def __init__(self, title: str, notes: Sequence[str]) -> None:
        self._title, self._notes = title, notes
        self._lines: list[str] = []
        self._imports: set[str] = set()

    def need(self, line: str) -> None:
        """Add an import, once."""
        self._imports.add(line)

    def add(self, *lines: str) -> None:
        """Add lines below those that are there."""
        self._lines += lines

    def load(self, name: str, source: ArraySource) -> None:
        """Add what gets an array of the viewer."""
        if source.is_read_from_file():
            self.need("from napari_ppn2v.files.images import open_image")
            self.add(f"{name} = open_image({str(Path(source.path))!r}).data")
        elif source.sample is not None and source.is_our_sample:
            self.need("from napari_ppn2v import sample_data")
            self.add(
                f"{name} = next(",
                f"{INDENT}data",
                f"{INDENT}for data, options, _ in sample_data.{source.sample[1]}()",
                f"{INDENT}if options['name'] == {source.layer!r}",
                ")",
            )
        else:
            self.need("import napari")
            finest = "[0]" if source.is_multiscale else ""
            self.add(
                "# the layer comes from no file that can be read again: run this in",
                "# the console of napari, or load the array here",
                f"{name} = napari.current_viewer().layers[{source.layer!r}]"
                f".data{finest}",
            )

    def text(self) -> str:
        """Return the script, its imports in order."""
        groups = _sorted_imports({*self._imports, "import napari_ppn2v as ppn2v"})
        body = [f'"""{_in_docstring(self._title)}"""', ""]
        body += [*(f"# {note}" for note in self._notes), *([""] if self._notes else [])]
        return "\n".join([*body, *groups, "", *self._lines]) + "\n"


def config_options(script: Script, config: RunConfig) -> dict[str, str]:
    """Add the settings as a preset and what differs from it."""
    # an argument of its own
    config = replace(config, inference=replace(config.inference, posterior_std=False))
    base, call = _nearest_preset(config)
    scaled = base.with_steps(config.n_steps)
    if config == base:
        return call
    if config == scaled:
        return {**call, "steps": str(config.n_steps)}
    script.need("from dataclasses import replace")
    options = ", ".join(
        f"{name}={value}" if name != "preset" else value for name, value in call.items()
    )
    script.add("", f"config = ppn2v.preset({options})")
    script.add(*_replacements("config", config, base))
    return {"config": "config"}


def _nearest_preset(config: RunConfig) -> tuple[RunConfig, dict[str, str]]:
    """Return the preset that settings started from, and the arguments that name it."""
    from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset

    name = config.preset if config.preset in PRESET_NAMES else "balanced"
    method = None if config.method == preset(name).method else config.method
    try:
        base = preset(name, method=method, seed=config.seed)
    except BadSetting:
        method, base = None, preset(name, seed=config.seed)
    call = {"preset": repr(name)}
    if method is not None:
        call["method"] = repr(method)
    if config.seed:
        call["seed"] = str(config.seed)
    return base, call


def _replacements(name: str, config: Any, base: Any) -> Iterable[str]:
    """Write settings as a copy of others with some fields replaced."""
    from napari_ppn2v.pipeline.setting_changes import changes_from

    grouped: dict[str, dict[str, str]] = {}
    for changed, value in changes_from(config, base).items():
        first, _, rest = changed.partition(".")
        grouped.setdefault(first, {})[rest] = repr(value)
    yield f"{name} = replace("
    yield f"{INDENT}{name},"
    for first, values in grouped.items():
        if "" in values:
            yield f"{INDENT}{first}={values['']},"
            continue
        inner = ", ".join(f"{field}={value}" for field, value in values.items())
        yield f"{INDENT}{first}=replace({name}.{first}, {inner}),"
    yield ")"


def range_text(numbers: Sequence[int]) -> str:
    """Write numbers as a range where they are one: "range(10)", "(0, 4)"."""
    first, last = numbers[0], numbers[-1]
    if len(numbers) > 2 and tuple(numbers) == tuple(range(first, last + 1)):
        return f"range({first}, {last + 1})" if first else f"range({last + 1})"
    return repr(tuple(int(number) for number in numbers))


def slice_text(part: slice) -> str:
    """Write a slice as one makes it."""
    return f"slice({part.start}, {part.stop})"


def _in_docstring(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'").replace("\n", " ")


def _sorted_imports(lines: Iterable[str]) -> list[str]:
    """Sort imports by library: standard, others, ours; a line between the groups."""
    groups: list[list[str]] = [[], [], []]
    for line in lines:
        module = line.split()[1]
        ours = 2 if module.startswith("napari_ppn2v") else 1
        groups[0 if module == "dataclasses" else ours].append(line)
    found: list[str] = []
    for group in groups:
        plain = sorted(group, key=lambda line: (line.startswith("from"), line))
        found += [*([""] if found and plain else []), *plain]
    return found
