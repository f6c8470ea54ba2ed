"""The residual check: quiet about good results, loud about lost structure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, median_filter

from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.noise_models.camera_models import (
    PoissonGammaModel,
    PoissonGaussianModel,
)
from napari_ppn2v.core.residual_findings import residual_findings
from napari_ppn2v.core.residuals import ResidualTally
from napari_ppn2v.errors import BadData

CAMERAS = {
    "scmos": (Camera(), PoissonGaussianModel),
    "emccd": (Camera(kind="emccd", gain=6.4, read_noise=2.5), PoissonGammaModel),
}


def noise_model(camera, signal, kind):
    high = float(signal.max())
    return kind(
        gain=camera.gain,
        offset=camera.offset,
        read_noise=camera.read_noise,
        signal_range=(camera.offset, max(high, camera.offset + 10)),
    )


@cache
def stack(name="scmos", n_frames=4, electrons=60, seed=0):
    camera, kind = CAMERAS[name]
    found = simulate_stack(
        camera, n_frames=n_frames, size=160, peak_electrons=electrons, seed=seed
    )
    return found, noise_model(camera, found.signal, kind)


def check(observation, results, model):
    tally = ResidualTally(model)
    for x, f in zip(observation, results, strict=True):
        tally.add(x.astype(np.float32), np.asarray(f, np.float32))
    return tally.result()


def verdicts(found):
    return {each.name: each.verdict for each in residual_findings(found)}


@pytest.mark.parametrize("name", CAMERAS)
@pytest.mark.parametrize("electrons", [8, 300])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_truth_itself_is_fine_in_all_findings(name, electrons, seed):
    simulated, model = stack(name, electrons=electrons, seed=seed)
    found = check(simulated.observation, simulated.signal, model)
    assert set(verdicts(found).values()) == {"fine"}
    assert abs(found.slope) < 4 * found.slope_error
    assert abs(found.spread - 1) < 0.02
    assert all(abs(w.value) < 5 * w.error for w in found.whiteness)


def test_an_oversmoothed_result_leaves_structure_and_correlation():
    simulated, model = stack(electrons=300)
    smoothed = [gaussian_filter(s, 2.5) for s in simulated.signal]
    found = check(simulated.observation, smoothed, model)
    said = verdicts(found)
    assert said["leftover structure"] == "will not work"
    assert said["whiteness"] != "fine"
    assert said["contrast"] != "fine"
    assert found.slope > 0.02


def test_a_median_filter_that_eats_filaments_is_noticed():
    simulated, model = stack(electrons=300)
    eaten = [median_filter(x.astype(np.float32), 9) for x in simulated.observation]
    said = verdicts(check(simulated.observation, eaten, model))
    assert "will not work" in said.values()


def test_a_filter_that_keeps_the_noise_is_noticed():
    simulated, model = stack(electrons=60)
    weak = [gaussian_filter(x.astype(np.float32), 0.7) for x in simulated.observation]
    found = check(simulated.observation, weak, model)
    assert found.spread < 0.9
    assert verdicts(found)["noise removed"] != "fine"


def test_lost_contrast_is_told_in_percent():
    simulated, model = stack(electrons=300)
    pale = [s.mean() + 0.85 * (s - s.mean()) for s in simulated.signal]
    found = check(simulated.observation, pale, model)
    # of the contrast of the result, 0.15 / 0.85
    assert found.slope == pytest.approx(0.15 / 0.85, abs=0.02)
    assert verdicts(found)["contrast"] == "will not work"


def test_one_lost_line_is_found_where_it_was():
    simulated, model = stack(electrons=60)
    signal = simulated.signal.copy()
    signal[1, 40, 30:90] += 40
    camera, _ = CAMERAS["scmos"]
    observation = camera.expose(signal, np.random.default_rng(5))
    found = check(observation, simulated.signal, model)
    assert verdicts(found)["leftover structure"] != "fine"
    place = found.leftover.places[0]
    assert (place.image, place.row) == (1, pytest.approx(40, abs=2))
    assert 28 <= place.column <= 92
    assert place.amplitude > 0


def test_an_invented_spot_is_found_as_darker_data():
    simulated, model = stack(electrons=60)
    invented = simulated.signal.copy()
    y, x = np.mgrid[:160, :160]
    invented[2] += 60 * np.exp(-((y - 80) ** 2 + (x - 50) ** 2) / 18)
    found = check(simulated.observation, invented, model)
    place = found.leftover.places[0]
    assert (place.image, place.row, place.column) == (
        2,
        pytest.approx(80, abs=3),
        pytest.approx(50, abs=3),
    )
    assert place.amplitude < 0
    assert verdicts(found)["leftover structure"] != "fine"


def with_spots(signal, rng, n_spots, height):
    """Single bright pixels, anew in each frame."""
    spotted = signal.copy()
    for frame in spotted:
        rows, columns = rng.integers(5, 155, (2, n_spots))
        frame[rows, columns] += height
    return spotted


def test_lost_bright_pixels_are_found_though_the_noise_model_took_them_for_noise():
    simulated, model = stack(electrons=20)
    camera, _ = CAMERAS["scmos"]
    rng = np.random.default_rng(3)
    spotted = with_spots(simulated.signal, rng, 60, 120.0)
    observation = camera.expose(spotted, rng)
    variance = float(np.mean((observation - simulated.signal) ** 2))
    plain = float(np.mean(camera.moments(simulated.signal)[1]))
    # what a fit to these frames would give: the spots make the noise look stronger
    wide = PoissonGaussianModel(
        gain=camera.gain,
        offset=camera.offset,
        read_noise=float(np.sqrt(camera.read_noise**2 + variance - plain)),
        signal_range=model.signal_range,
    )
    found = check(observation, simulated.signal, wide)
    assert found.outliers.found > 5 * found.outliers.expected
    assert verdicts(found)["lost bright pixels"] != "fine"


def test_bright_pixels_that_stay_in_place_are_found_by_their_repetition():
    simulated, model = stack(n_frames=8, electrons=20)
    signal = simulated.signal.copy()
    signal[:, 33, 44] += 45  # five standard deviations of the noise
    camera, _ = CAMERAS["scmos"]
    observation = camera.expose(signal, np.random.default_rng(1))
    found = check(observation, simulated.signal, model)
    assert found.outliers.repeated == ((33, 44),)
    assert verdicts(found)["repeated bright pixels"] != "fine"


def test_own_noise_in_the_result_is_not_taken_for_lost_structure():
    """A linear filter, of which the simulation knows exactly how it follows noise."""
    camera, kind = CAMERAS["scmos"]
    signal = np.full((256, 256), 220.0)
    rng = np.random.default_rng(0)
    x, simulated = (camera.expose(signal, rng).astype(np.float32) for _ in range(2))
    model = noise_model(camera, signal, kind)

    def denoised(image):
        return gaussian_filter(image, 1.0)

    alone, known = ResidualTally(model), ResidualTally(model)
    alone.add(x, denoised(x))
    around = (simulated - signal + denoised(x)).astype(np.float32)
    centred = denoised(x) + denoised(around) - denoised(denoised(x))
    known.add(x, denoised(x), around, centred)
    assert alone.result().whiteness[0].value < -0.1
    # what is left is the error of the result itself: 1 / 4 pi of the noise's variance
    found = known.result()
    assert found.whiteness[0].value * found.spread**2 == pytest.approx(
        np.exp(-0.25) / (4 * np.pi), abs=0.01
    )
    assert known.result().is_simulated
    assert not alone.result().is_simulated


def test_ranges_tell_where_the_result_is_too_dark():
    simulated, model = stack(electrons=300)
    results = simulated.signal.copy()
    bright = results > np.quantile(results, 0.9)
    results[bright] -= 0.1 * (results[bright] - 100)
    found = check(simulated.observation, results, model)
    biases = [each.bias for each in found.ranges]
    assert max(biases[:4], key=abs) == pytest.approx(0, abs=0.5)
    assert biases[-1] > 5
    assert sum(each.n_pixels for each in found.ranges) <= found.n_pixels


def test_every_finding_has_a_sentence_and_bad_ones_advice():
    simulated, model = stack(electrons=300)
    smoothed = [gaussian_filter(s, 3) for s in simulated.signal]
    for finding in residual_findings(check(simulated.observation, smoothed, model)):
        assert finding.sentence.endswith(".")
        assert all(np.isfinite(value) for value in finding.figures.values())
        assert finding.verdict == "fine" or finding.advice


def test_images_that_do_not_belong_together_are_refused():
    simulated, model = stack()
    x = simulated.observation[0].astype(np.float32)
    tally = ResidualTally(model)
    with pytest.raises(BadData, match="same size"):
        tally.add(x, x[:100])
    with pytest.raises(BadData, match="16 x 16"):
        tally.add(x[:8], x[:8])
    with pytest.raises(BadData, match="not finite"):
        tally.add(x, np.full_like(x, np.nan))
    with pytest.raises(BadData, match="no image"):
        tally.result()


def test_the_check_gives_the_same_answer_again():
    simulated, model = stack()
    first, second = (
        check(simulated.observation, simulated.signal, model) for _ in range(2)
    )
    assert first == replace(second)
