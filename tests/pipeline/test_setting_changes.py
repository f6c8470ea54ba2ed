"""What was changed in a preset moves along to another one."""

from dataclasses import replace

import pytest

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset
from napari_ppn2v.pipeline.setting_changes import (
    base_of,
    changes_from,
    moved_to,
    with_changes,
)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_preset_has_no_changes_from_itself(name):
    config = preset(name)
    assert changes_from(config, base_of(config)) == {}


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_changes_lead_from_any_preset_to_any_other(name):
    here, there = preset("fast"), preset(name)
    assert with_changes(here, changes_from(there, here)) == there


def test_what_was_changed_moves_along_and_the_rest_is_the_new_presets():
    fast = preset("fast")
    changed = replace(fast, seed=7, training=replace(fast.training, batch_size=3))
    moved = moved_to("thorough", changed)
    assert changes_from(moved, preset("thorough")) == {
        "seed": 7,
        "training.batch_size": 3,
    }
    assert moved.n_steps == preset("thorough").n_steps


def test_the_method_moves_along_with_the_steps_that_belong_to_it():
    moved = moved_to("thorough", preset("fast", method="pn2v"))
    assert moved == preset("thorough", method="pn2v")


def test_what_contradicts_is_refused_in_words():
    with pytest.raises(BadSetting, match="Batch size"):
        with_changes(preset("fast"), {"training.batch_size": 0})
