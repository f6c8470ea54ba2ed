"""What somebody has changed in a preset, so that it can be told and moved along."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

from napari_ppn2v.pipeline.presets import preset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_ppn2v.pipeline.config import RunConfig

T = TypeVar("T")


def changes_from(config: Any, base: Any) -> dict[str, Any]:
    """Return the fields that differ from a base, by dotted name.

    Parameters
    ----------
    config, base : settings dataclasses of one type

    Examples
    --------
    >>> from napari_ppn2v.pipeline.config import TrainingConfig
    >>> changes_from(TrainingConfig(batch_size=4), TrainingConfig())
    {'batch_size': 4}
    """
    found: dict[str, Any] = {}
    for item in dataclasses.fields(base):
        now, before = getattr(config, item.name), getattr(base, item.name)
        if dataclasses.is_dataclass(before):
            inner = changes_from(now, before)
            found |= {f"{item.name}.{name}": value for name, value in inner.items()}
        elif now != before:
            found[item.name] = now
    return found


def with_changes(base: T, changes: Mapping[str, Any]) -> T:
    """Return settings with some fields replaced, all at once.

    Raises
    ------
    BadSetting  If a value is refused, or two contradict each other.
    """
    top: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        if rest:
            nested.setdefault(first, {})[rest] = value
        else:
            top[name] = value
    for first, inner in nested.items():
        top[first] = with_changes(getattr(base, first), inner)
    return dataclasses.replace(base, **top)  # type: ignore[type-var]


def base_of(config: RunConfig) -> RunConfig:
    """Return the preset that some settings started from, with their method."""
    return preset(config.preset, method=config.method)


def moved_to(name: str, config: RunConfig) -> RunConfig:
    """Return another preset with all that was changed in the one before.

    Raises
    ------
    BadSetting  If the other preset does not allow it.
    """
    if name == config.preset:
        return config
    base = preset(name, method=config.method)
    return with_changes(base, changes_from(config, base_of(config)))
