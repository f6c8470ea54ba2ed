"""Whether a noise model still fits: the same camera does, a changed one does not."""

from dataclasses import replace

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models import PoissonGammaModel, PoissonGaussianModel
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.errors import BadData
from napari_ppn2v.events import collect, drain
from napari_ppn2v.pipeline.noise_drift import check_drift

SCMOS = Camera("scmos", gain=2.2, offset=100, read_noise=3.3)
EMCCD = Camera("emccd", gain=6.5, offset=100, read_noise=4.0)
KINDS = {"scmos": PoissonGaussianModel, "emccd": PoissonGammaModel}


def model_of(camera, top=400.0):
    return KINDS[camera.kind](
        gain=camera.gain,
        offset=camera.offset,
        read_noise=camera.read_noise,
        signal_range=(95.0, top),
    )


def calibration_of(camera):
    made = simulate_calibration(camera, n_repeats=30, size=64, peak_electrons=40)
    return SignalObservationPairs.from_calibration(made.observation).histogram()


def frames_of(camera, n_frames=4, size=256):
    made = simulate_stack(camera, n_frames=n_frames, size=size, peak_electrons=40)
    return as_frames(made.observation, "TYX")


VERDICTS = {
    calibration_of: {"no longer right"},
    frames_of: {"no longer right", "slightly off"},
}
CHANGES = {
    "louder by 30 %": {"gain": 2.86},
    "quieter by 30 %": {"gain": 1.54},
    "read noise tripled": {"read_noise": 10.0},
}


@pytest.mark.parametrize("camera", [SCMOS, EMCCD], ids=["sCMOS", "EMCCD"])
@pytest.mark.parametrize("make", [calibration_of, frames_of])
def test_the_same_camera_is_still_right(camera, make):
    found = drain(check_drift(model_of(camera), make(camera)))
    assert found.verdict == "still right", found.reason
    assert found.slope_ratio == pytest.approx(1, abs=0.2)
    assert found.share_outside < 0.02


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("make", [calibration_of, frames_of])
def test_a_changed_camera_is_noticed(change, make):
    found = drain(check_drift(model_of(SCMOS), make(replace(SCMOS, **change))))
    assert found.verdict in VERDICTS[make]
    assert "Fit a noise model to a new calibration" in found.reason


def test_a_changed_offset_shows_as_its_shift():
    moved = replace(SCMOS, offset=110)
    found = drain(check_drift(model_of(SCMOS), calibration_of(moved)))
    assert found.verdict == "no longer right"
    assert found.dark_shift == pytest.approx(10, abs=1)
    assert found.slope_ratio == pytest.approx(1, abs=0.03)


def test_pairs_also_tell_the_quality_of_the_fit():
    found = drain(check_drift(model_of(SCMOS), calibration_of(SCMOS)))
    assert {item.verdict for item in found.quality} == {"good"}
    assert found.source == "pairs"


def test_a_fixed_pattern_does_not_look_like_noise_where_frames_repeat():
    rng = np.random.default_rng(0)
    signal = 100 + 2.2 * np.linspace(0, 60, 128 * 128).reshape(128, 128)
    pattern = rng.normal(0, 8, signal.shape)
    frames = np.stack([SCMOS.expose(signal, rng) + pattern for _ in range(12)])
    found = drain(check_drift(model_of(SCMOS), as_frames(frames, "TYX")))
    assert np.mean([item.variance_ratio for item in found.ranges]) < 1.25


def test_other_signals_cannot_be_compared():
    other = replace(SCMOS, offset=2000)
    with pytest.raises(BadData, match="cannot be compared"):
        drain(check_drift(model_of(SCMOS), frames_of(other, 1, 256)))


def test_frames_too_small_are_refused():
    with pytest.raises(BadData, match="8 x 8"):
        drain(check_drift(model_of(SCMOS), as_frames(np.ones((2, 6, 6)), "TYX")))


def test_each_frame_is_told():
    events, _ = collect(check_drift(model_of(SCMOS), frames_of(SCMOS, 3, 96)))
    steps = [event.step for event in events if hasattr(event, "step")]
    assert steps == [1, 2, 3]
