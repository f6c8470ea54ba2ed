"""Forms made from documented settings: what goes in comes out, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline.config import (
    UNSUPERVISED,
    InferenceConfig,
    PriorConfig,
    RunConfig,
    TrainingConfig,
)
from napari_ppn2v.pipeline.presets import PRESET_NAMES, preset
from napari_ppn2v.widgets.forms.config_form import ConfigForm
from napari_ppn2v.widgets.forms.editors import number_text
from napari_ppn2v.widgets.forms.run_config_form import RunConfigForm

CONFIGS = (UNetConfig, NoiseModelConfig, TrainingConfig, PriorConfig, InferenceConfig)
SCALARS = tuple(item.name for item in fields(RunConfig) if item.metadata)
each_config = pytest.mark.parametrize("config_type", CONFIGS)


def values_of(hint: Any, meta: Any) -> st.SearchStrategy:
    low, high = meta["minimum"], meta["maximum"]
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if hint is bool:
        return st.booleans()
    if hint is int:
        return st.integers(low or 0, high or 2**31 - 1)
    if hint is float:
        at_least, at_most = (-1e9 if low is None else low), high or 1e9
        return numbers(at_least, at_most)
    if hint is str:
        return st.text(st.characters(categories=["L", "N"]), max_size=20)
    if hint == tuple[float, float]:
        return st.tuples(numbers(-1e9, 1e9), numbers(-1e9, 1e9))
    inner, nothing = hint.__args__
    assert nothing is type(None)
    return st.none() | values_of(inner, meta)


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    # the smallest numbers have no meaning as settings, and Qt reads some of them as 0
    return st.floats(low, high, allow_subnormal=False).filter(
        lambda value: value == 0 or abs(value) > 1e-300
    )


@st.composite
def configs(draw: Any, config_type: type, names: tuple[str, ...] = ()) -> Any:
    hints = get_type_hints(config_type)
    chosen = {
        item.name: draw(values_of(hints[item.name], item.metadata))
        for item in fields(config_type)
        if item.metadata and (not names or item.name in names)
    }
    try:
        return config_type(**chosen)
    except BadSetting:
        assume(False)


@each_config
def test_what_is_set_comes_back(config_type, qapp):
    form = ConfigForm(config_type)

    @settings(max_examples=40)
    @given(configs(config_type))
    def round_trip(config):
        form.set_value(config)
        assert form.value() == config
        assert form.error() == ""

    round_trip()


def test_the_scalars_of_a_run_come_back(qapp):
    form = ConfigForm(RunConfig, fields=SCALARS)

    @settings(max_examples=40)
    @given(configs(RunConfig, SCALARS))
    def round_trip(config):
        form.set_value(config)
        assert form.value() == config

    round_trip()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_so_that_they_mean_the_same(number):
    assert float(number_text(number)) == number


def test_fields_that_are_not_shown_keep_what_was_set(qtbot):
    form = ConfigForm(TrainingConfig, fields=("n_steps",))
    form.set_value(TrainingConfig(patch_size=128, n_steps=5))
    form.editor("n_steps").setValue(77)
    assert form.value() == TrainingConfig(patch_size=128, n_steps=77)


def test_a_form_begins_with_the_values_given(qtbot):
    config = PriorConfig(kind="free", n_samples=800)
    assert ConfigForm(PriorConfig, values=config).value() == config


def test_setting_values_tells_nobody(qtbot):
    form = ConfigForm(NoiseModelConfig)
    with qtbot.assertNotEmitted(form.value_changed):
        form.set_value(NoiseModelConfig(kind="gmm", n_bins=3, offset=99.5))


def test_typing_a_number_tells_once_when_it_is_complete(qtbot):
    form = ConfigForm(TrainingConfig)
    qtbot.addWidget(form)
    told: list[TrainingConfig] = []
    form.value_changed.connect(told.append)
    editor = form.editor("n_steps")
    editor.selectAll()
    qtbot.keyClicks(editor, "2500")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    assert [config.n_steps for config in told] == [2500]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("1e-4", 1e-4), ("0,02", 0.02), ("2.5E-3", 2.5e-3), ("1e-9", 1e-7)],
    ids=["scientific", "decimal comma", "capital E", "below the range"],
)
def test_small_numbers_can_be_typed(qtbot, typed, expected):
    form = ConfigForm(TrainingConfig)
    qtbot.addWidget(form)
    editor = form.editor("learning_rate")
    editor.selectAll()
    qtbot.keyClicks(editor, typed)
    assert form.value().learning_rate == expected


def test_letters_are_no_numbers(qtbot):
    form = ConfigForm(TrainingConfig)
    qtbot.addWidget(form)
    qtbot.keyClicks(form.editor("learning_rate"), "abc")
    assert form.value().learning_rate == TrainingConfig().learning_rate


def test_the_keys_up_and_down_change_the_second_digit(qtbot):
    form = ConfigForm(TrainingConfig)
    qtbot.addWidget(form)
    editor = form.editor("learning_rate")
    qtbot.keyClick(editor, Qt.Key.Key_Up)
    assert form.value().learning_rate == 0.0031
    for _ in range(2):
        qtbot.keyClick(editor, Qt.Key.Key_Down)
    assert form.value().learning_rate == 0.0029


def test_turning_off_automatic_begins_with_a_sensible_value(qtbot):
    form = ConfigForm(NoiseModelConfig)
    with qtbot.waitSignal(form.value_changed) as signal:
        form.editor("n_bins").automatic.setChecked(False)
    assert signal.args[0].n_bins == 256
    form.editor("n_bins").automatic.setChecked(True)
    assert form.value().n_bins is None


def test_a_refused_value_is_explained_and_not_told(qtbot):
    form = ConfigForm(UNetConfig)
    qtbot.addWidget(form)
    with qtbot.assertNotEmitted(form.value_changed):
        form.editor("kernel_size").setValue(4)
    assert "must be odd" in form.error()
    with pytest.raises(BadSetting, match="must be odd"):
        form.value()
    with qtbot.waitSignal(form.error_changed) as signal:
        form.editor("kernel_size").setValue(5)
    assert signal.args == [""]
    assert form.value().kernel_size == 5


def wheel_over(widget: Any) -> None:
    where = QPointF(widget.rect().center())
    event = QWheelEvent(
        where,
        QPointF(widget.mapToGlobal(widget.rect().center())),
        QPoint(),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


@each_config
def test_the_wheel_changes_nothing_in_passing(config_type, qtbot):
    form = ConfigForm(config_type)
    qtbot.addWidget(form)
    form.show()
    before = form.value()
    QApplication.focusWidget() and QApplication.focusWidget().clearFocus()
    for item in fields(config_type):
        wheel_over(form.editor(item.name))
    assert form.value() == before


@each_config
def test_every_setting_explains_itself(config_type, qtbot):
    form = ConfigForm(config_type)
    for item in fields(config_type):
        assert "<qt>" in form.editor(item.name).toolTip()


@pytest.mark.parametrize(
    "module",
    [
        "napari_ppn2v.pipeline.presets",
        "napari_ppn2v.widgets.forms.config_form",
        "napari_ppn2v.widgets.forms.run_config_form",
        "napari_ppn2v.widgets.parts.basics",
    ],
)
def test_forms_are_there_before_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_every_preset_passes_through_the_form_of_a_run(name, qapp):
    form = RunConfigForm()
    form.set_value(preset(name, seed=7))
    assert form.value() == preset(name, seed=7)


def test_a_change_deep_in_a_run_is_told_once(qtbot):
    form = RunConfigForm(preset("fast"))
    told: list[RunConfig] = []
    form.value_changed.connect(told.append)
    form.editor("refinement.batch_size").setValue(16)
    fast = preset("fast")
    expected = replace(fast, refinement=replace(fast.refinement, batch_size=16))
    assert told == [expected] == [form.value()]


def test_settings_that_contradict_each_other_are_explained(qtbot):
    form = RunConfigForm()
    qtbot.addWidget(form)
    estimate = form.editor("inference.estimate")
    with qtbot.waitSignal(form.error_changed) as signal:
        estimate.setCurrentIndex(estimate.findData("mmse"))
    assert "Method 'refined' has no estimate 'mmse'" in signal.args[0]
    method = form.editor("method")
    with qtbot.waitSignal(form.value_changed) as signal:
        method.setCurrentIndex(method.findData("pn2v"))
    assert signal.args[0].inference.estimate == "mmse"
    assert form.error() == ""


def test_a_refused_section_is_named(qtbot):
    form = RunConfigForm()
    form.editor("network.kernel_size").setValue(6)
    assert form.error().startswith("Network: 'Kernel size' is 6")


def test_what_the_method_does_not_use_is_hidden(qtbot):
    form = RunConfigForm(preset("fast", method="n2v"))
    qtbot.addWidget(form)
    form.show()
    assert form.section("pretraining").isVisible()
    assert not form.section("noise_model").isVisible()
    assert not form.editor("n_refinements").isVisible()
    form.set_value(preset("fast"))
    assert form.section("noise_model").isVisible()
    assert form.editor("n_refinements").isVisible()


def test_methods_that_need_targets_are_not_offered(qtbot):
    """Nothing in the viewer chooses a target."""
    form = RunConfigForm()
    editor = form.editor("method")
    offered = [editor.itemData(index) for index in range(editor.count())]
    assert tuple(offered) == UNSUPERVISED
    assert "CARE" not in editor.toolTip()
    assert "Noise2Void" in editor.toolTip()
