"""What the noise says about a camera: the truth where it can be told, else that not."""

import numpy as np
import pytest

from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.camera_readout import (
    KnownCamera,
    Measured,
    readout_of_model,
    readout_of_pairs,
)
from napari_ppn2v.core.noise_models import (
    HistogramModel,
    NoiseModelConfig,
    PoissonGammaModel,
    fit_noise_model,
)
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.photon_transfer import signal_rows, transfer_line
from napari_ppn2v.errors import BadData, BadSetting
from napari_ppn2v.events import drain

SCMOS = Camera("scmos", gain=2.2, offset=100, read_noise=3.3)
EMCCD = Camera("emccd", gain=6.5, offset=100, read_noise=4.0)
AT_THE_FLOOR = Camera("scmos", gain=1.5, offset=2, read_noise=3.0)


def pairs_of(camera, electrons, n_repeats=50, size=64, seed=3):
    made = simulate_calibration(
        camera, n_repeats=n_repeats, size=size, peak_electrons=electrons, seed=seed
    )
    return SignalObservationPairs.from_calibration(made.observation).histogram()


def far_from_dark(camera, n_repeats=50):
    """Repeats of a bright ramp, from 200 to 800 electrons."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(200, 800, 64 * 64).reshape(64, 64)
    signal = camera.offset + camera.gain * ramp
    frames = np.stack([camera.expose(signal, rng) for _ in range(n_repeats)])
    return SignalObservationPairs.from_calibration(frames).histogram()


CASES = {
    "sCMOS": (SCMOS, 60, "scmos"),
    "EMCCD": (EMCCD, 15, "emccd"),
    "quiet sCMOS": (Camera("scmos", gain=0.5, offset=100, read_noise=0.8), 60, "scmos"),
    "clipped at zero": (AT_THE_FLOOR, 60, "scmos"),
    "8 bit, clipped above": (
        Camera("scmos", gain=1.5, offset=8, read_noise=2.0, bit_depth=8),
        168,
        "scmos",
    ),
}


@pytest.mark.parametrize(("camera", "electrons", "kind"), CASES.values(), ids=CASES)
def test_gain_and_read_noise_are_found_with_a_known_offset(camera, electrons, kind):
    known = KnownCamera(offset=camera.offset, camera=kind)
    found = drain(readout_of_pairs(pairs_of(camera, electrons), known))
    assert found.gain.value == pytest.approx(camera.gain, rel=0.02)
    assert found.read_noise.value == pytest.approx(camera.read_noise, rel=0.1)
    assert found.offset == Measured(camera.offset, 0.0)


@pytest.mark.parametrize(
    ("camera", "electrons", "size"),
    [(SCMOS, 60, 96), (EMCCD, 15, 48)],
    ids=["sCMOS", "EMCCD"],
)
def test_the_shape_tells_camera_offset_and_read_noise(camera, electrons, size):
    found = drain(readout_of_pairs(pairs_of(camera, electrons, 100, size)))
    assert found.camera == camera.kind
    assert found.gain.value == pytest.approx(camera.gain, rel=0.02)
    assert found.read_noise.value == pytest.approx(camera.read_noise, rel=0.1)
    assert abs(found.offset.value - camera.offset) < 4 * found.offset.error + 0.3
    assert any("by the shape of the noise alone" in note for note in found.notes)


def test_bright_repeats_tell_the_slope_and_that_they_tell_no_more():
    found = drain(readout_of_pairs(far_from_dark(SCMOS)))
    assert found.slope.value == pytest.approx(SCMOS.gain, rel=0.02)
    assert found.read_noise is None
    assert found.offset is None
    notes = " ".join(found.notes)
    assert "cannot be separated" in notes
    assert "recording without light" in notes


def test_a_dark_recording_separates_what_bright_repeats_do_not():
    known = KnownCamera(offset=100, read_noise=3.3, camera="scmos")
    found = drain(readout_of_pairs(far_from_dark(SCMOS), known))
    assert found.gain.value == pytest.approx(2.2, rel=0.02)
    assert found.read_noise_electrons == pytest.approx(1.5, rel=0.05)
    assert not any("cannot be separated" in note for note in found.notes)


def test_the_slope_is_within_its_error_of_the_truth():
    pulls = []
    for seed in range(8):
        line = transfer_line(signal_rows(pairs_of(SCMOS, 60, 20, seed=seed)))
        pulls.append((line.slope - 2.2) / line.slope_error)
    assert max(abs(p) for p in pulls) < 4
    assert 0.3 < np.std(pulls) < 2


def test_pixels_at_the_floor_do_not_bias_the_slope():
    rows = signal_rows(pairs_of(AT_THE_FLOOR, 60))
    assert rows.n_clipped > 0
    assert transfer_line(rows).slope == pytest.approx(1.5, rel=0.02)


def test_few_repeats_of_a_dark_scene_do_not_bias_the_slope():
    rng = np.random.default_rng(0)
    light = 40 * np.linspace(-1, 1, 128 * 128).clip(0).reshape(128, 128) ** 2
    frames = np.stack([SCMOS.expose(100 + 2.2 * light, rng) for _ in range(20)])
    pairs = SignalObservationPairs.from_calibration(frames).histogram()
    line = transfer_line(signal_rows(pairs))
    assert line.slope == pytest.approx(2.2, rel=0.02)


def test_saturation_of_single_frames_does_not_bend_the_slope():
    rng = np.random.default_rng(1)
    signal = SCMOS.offset + 2.2 * np.linspace(0, 100, 96 * 96).reshape(96, 96)
    limits = np.linspace(300, 330, 30)
    frames = [np.minimum(SCMOS.expose(signal, rng), limit) for limit in limits]
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        signal[None], np.stack(frames)
    )
    line = transfer_line(signal_rows(pairs.histogram()))
    assert line.n_bent > 0
    assert line.slope == pytest.approx(2.2, rel=0.03)


def test_offsets_that_differ_by_pixel_are_noticed_and_do_not_tilt_the_line():
    rng = np.random.default_rng(2)
    light = 2.2 * 60 * np.linspace(0, 1, 96 * 96).reshape(96, 96) ** 3
    pattern = rng.normal(0, 6, light.shape)
    frames = np.stack([SCMOS.expose(100 + light, rng) + pattern for _ in range(40)])
    pairs = SignalObservationPairs.from_calibration(np.rint(frames)).histogram()
    found = drain(readout_of_pairs(pairs, KnownCamera(camera="scmos")))
    assert any("differ from pixel to pixel" in note for note in found.notes)
    assert found.gain.value == pytest.approx(2.2, rel=0.06)


@pytest.mark.parametrize("kind", ["gmm", "histogram", "camera"])
def test_a_fitted_model_alone_tells_the_slope(kind):
    model = drain(
        fit_noise_model(pairs_of(SCMOS, 60), NoiseModelConfig(kind=kind))
    ).model
    found = readout_of_model(model, KnownCamera(offset=100, camera="scmos"))
    assert found.slope.value == pytest.approx(2.2, rel=0.04)
    assert found.notes or kind != "camera"


def test_a_camera_model_is_read_out_as_it_was_saved():
    model = PoissonGammaModel(
        gain=6.5, offset=100, read_noise=4, signal_range=(100, 300)
    )
    found = readout_of_model(model)
    assert (found.gain.value, found.excess_noise_factor) == (6.5, 2.0)
    assert found.slope.value == 13
    assert "holds no uncertainties" in found.notes[0].replace("\n", " ")


def test_noise_that_does_not_grow_has_no_gain():
    edges = np.arange(0, 41) - 0.5
    same = np.exp(-0.5 * (np.arange(40) - np.arange(40)[:, None]) ** 2)
    model = HistogramModel(same / same.sum(1, keepdims=True), edges, edges)
    model.signal_range = (10.0, 30.0)
    with pytest.raises(BadData, match="does not grow"):
        readout_of_model(model)


@pytest.mark.parametrize(
    "wrong", [{"camera": "ccd"}, {"read_noise": 0.0}], ids=["camera", "read noise"]
)
def test_what_cannot_be_known_of_a_camera_is_refused(wrong):
    with pytest.raises(BadSetting):
        KnownCamera(**wrong)


def test_numbers_are_written_with_the_digits_that_their_error_leaves():
    assert str(Measured(2.19876, 0.0123)) == "2.199 ± 0.012"
    assert str(Measured(100, 0.0)) == "100 (given)"
    assert str(Measured(2.5, float("nan"))) == "2.5"
