"""Each statistic of the data check recovers what was simulated, and little else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack
from napari_ppn2v.core.checks import (
    clipping,
    compression,
    correlation,
    coverage,
    drift,
    findings,
    fixed_pattern,
    grey_levels,
    outliers,
)
from napari_ppn2v.core.checks.sample import Sample
from napari_ppn2v.core.scenes import SCENES


def sample_of(frames, dtype=None):
    frames = np.asarray(frames)
    return Sample(
        frames.astype(np.float32),
        np.arange(len(frames)),
        np.dtype(dtype or frames.dtype),
    )


def static_stack(n_frames=12, size=128, peak=100, scene="filaments", seed=0):
    """Repeats of one scene: signal (Y, X) and observations (N, Y, X) as float32."""
    rng = np.random.default_rng(seed)
    camera = Camera()
    light = SCENES[scene]((size, size), rng)
    signal = camera.offset + camera.gain * peak * light
    frames = np.stack([camera.expose(signal, rng) for _ in range(n_frames)])
    return signal, frames.astype(np.float32)


def moving_stack(n_frames=12, size=128, peak=100, seed=0):
    rng = np.random.default_rng(seed)
    camera = Camera()
    scene = SCENES["filaments"]((size, size), rng)
    moved = [
        shift(scene, (0.7 * k, 0.4 * k), order=1, mode="grid-wrap")
        for k in range(n_frames)
    ]
    signal = camera.offset + camera.gain * peak * np.clip(moved, 0, None)
    return np.stack([camera.expose(each, rng) for each in signal])


STACKS = {
    "static": lambda: static_stack()[1],
    "static and bright": lambda: static_stack(peak=1500, scene="nuclei")[1],
    "moving": moving_stack,
    "new scenes": lambda: (
        simulate_stack(Camera(), n_frames=12, size=128, peak_electrons=60).observation
    ),
    "EMCCD": lambda: (
        simulate_stack(
            Camera("emccd", 12, 400, 9), n_frames=12, size=128, peak_electrons=20
        ).observation
    ),
    "one frame": lambda: static_stack(1, size=192)[1],
}


@pytest.fixture(params=STACKS, scope="module")
def clean(request):
    return sample_of(STACKS[request.param]())


# --- noise correlation ---


def test_structures_are_not_taken_for_correlated_noise(clean):
    for axis in (1, 2):
        found = correlation.spatial_correlation(clean, axis)
        assert abs(found.value) < 0.05 + 3 * found.error
    assert correlation.correlation_findings(clean)[0].verdict == "fine"


@pytest.mark.parametrize("axis", [1, 2], ids=["along y", "along x"])
@pytest.mark.parametrize("kind", ["static", "moving"])
def test_correlation_and_its_direction_are_recovered(kind, axis):
    rng = np.random.default_rng(1)
    if kind == "static":
        light = static_stack(1)[0][None].repeat(12, 0)
    else:
        scene = static_stack(1)[0]
        light = np.stack([np.roll(scene, (3 * k, 2 * k), (0, 1)) for k in range(12)])
    noise = rng.normal(0, 6, light.shape)
    mixed = (noise + 0.5 * np.roll(noise, 1, axis)) / 1.25**0.5
    sample = sample_of(light + mixed)
    assert sample.is_static == (kind == "static")
    along, across = (
        correlation.spatial_correlation(sample, a) for a in (axis, 3 - axis)
    )
    assert along.value == pytest.approx(0.4, abs=0.03)
    assert abs(across.value) < 0.03
    (finding,) = correlation.correlation_findings(sample)
    assert finding.verdict == "will not work"
    assert f"noise along {'yx'[axis - 1]}" in finding.sentence


def test_a_filtered_image_is_called_smoothed():
    _, frames = static_stack()
    smooth = gaussian_filter(frames, (0, 0.8, 0.8))
    (finding,) = correlation.correlation_findings(sample_of(smooth))
    assert finding.verdict == "will not work"
    assert "smoothed" in finding.sentence


def test_the_strength_of_the_noise_is_measured_in_dark_regions():
    signal, frames = static_stack(peak=5)
    dark = float(Camera().moments(np.median(signal))[1]) ** 0.5
    assert correlation.noise_spread(sample_of(frames)) == pytest.approx(dark, rel=0.1)


# --- what frames share ---


def test_a_static_sample_is_neither_a_pattern_nor_lasting_noise(clean):
    shared = correlation.shared_by_frames(clean)
    if shared is None:
        assert len(clean) < 3
        return
    assert fixed_pattern.pattern_findings(shared)[0].verdict == "fine"
    assert correlation.time_findings(shared)[0].verdict == "fine"


@pytest.mark.parametrize("kind", ["static", "moving", "new scenes"])
def test_the_fixed_pattern_is_recovered(kind):
    rng = np.random.default_rng(2)
    frames = STACKS[kind]().astype(float)
    frames += rng.normal(0, 60, frames.shape)  # far above the shot noise
    frames += rng.normal(0, 0.8 * 60, frames.shape[1:])
    shared = correlation.shared_by_frames(sample_of(frames))
    (finding,) = fixed_pattern.pattern_findings(shared)
    assert finding.figures["pattern over noise"] == pytest.approx(0.8, rel=0.2)
    assert finding.verdict == "careful"


def test_a_running_average_is_noticed_as_correlation_in_time():
    _, frames = static_stack(16)
    averaged = 0.5 * (frames[1:] + frames[:-1])
    shared = correlation.shared_by_frames(sample_of(averaged))
    assert shared.following[0] == pytest.approx(0.5, abs=0.08)
    assert shared.always[0] < 0.05
    assert correlation.time_findings(shared)[0].verdict == "careful"


# --- stripes ---


def test_stripes_are_not_found_in_clean_stacks(clean):
    assert fixed_pattern.stripe_findings(clean)[0].verdict == "fine"


@pytest.mark.parametrize("is_fixed", [True, False], ids=["fixed", "changing"])
@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
def test_stripes_are_recovered_with_their_direction(axis, is_fixed):
    rng = np.random.default_rng(3)
    frames = static_stack()[1]
    noise = correlation.noise_spread(sample_of(frames))
    shape = [1 if is_fixed else len(frames), 1, 1]
    shape[axis] = 128
    striped = sample_of(frames + rng.normal(0, 0.5 * noise, shape))
    found, other = (fixed_pattern.stripes(striped, a) for a in (axis, 3 - axis))
    assert found.spread == pytest.approx(0.5, rel=0.25)
    assert other.spread < 0.15
    assert (found.fixed > 0.5) == is_fixed
    (finding,) = fixed_pattern.stripe_findings(striped)
    assert finding.verdict == "careful"
    assert ("in all frames alike" in finding.sentence) == is_fixed


# --- noise by pixel ---


@pytest.mark.parametrize("peak", [20, 1000])
def test_shot_noise_alone_is_no_difference_among_pixels(peak):
    sample = sample_of(static_stack(24, peak=peak)[1])
    assert fixed_pattern.pixel_noise_findings(sample)[0].verdict == "fine"


def test_a_spread_of_the_read_noise_is_recovered():
    rng = np.random.default_rng(4)
    spread = np.exp(0.4 * rng.normal(size=(192, 192)))
    frames = 100 + spread * rng.normal(0, 5, (24, 192, 192))
    found, _ = fixed_pattern.pixel_noise_spread(sample_of(frames))
    truth = (spread**2).std() / (spread**2).mean()
    assert found == pytest.approx(truth, rel=0.25)
    assert fixed_pattern.pixel_noise_findings(sample_of(frames))[0].verdict == "careful"


def test_noise_by_pixel_is_not_asked_where_the_scene_moves():
    assert (
        fixed_pattern.pixel_noise_spread(sample_of(moving_stack(24, peak=2000))) is None
    )


# --- clipping ---


def test_clean_stacks_are_not_clipped(clean):
    assert clipping.clipping_findings(list(clean.frames))[0].verdict == "fine"


def test_the_clipping_bias_is_that_of_a_cut_normal_distribution():
    rng = np.random.default_rng(5)
    x = rng.normal(2, 3, (512, 512))
    bias = clipping.clipping_bias(x <= 0)
    truth = (np.maximum(x, 0).mean() - 2) / 3
    assert bias == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("share", [0.01, 0.25])
@pytest.mark.parametrize("end", ["low", "high"])
def test_clipped_pixels_are_counted_at_both_ends(end, share):
    frames = static_stack(6, peak=300)[1]
    sign = 1 if end == "low" else -1
    limit = np.rint(np.quantile(sign * frames, share)) * sign
    cut = np.maximum(frames, limit) if end == "low" else np.minimum(frames, limit)
    (finding,) = clipping.clipping_findings(list(cut))
    assert finding.verdict == "careful"
    assert finding.figures[f"{end} limit"] == limit
    counted = finding.figures[f"pixels at the {end} limit"]
    assert counted == (cut == limit).sum()
    bias = finding.figures[f"bias of the {end} limit, noise standard deviations"]
    assert np.sign(bias) == sign


def test_limits_that_differ_by_image_are_found_in_each():
    frames = static_stack(4, peak=300)[1]
    tops = [np.rint(np.quantile(f, 0.98)) - 10 * k for k, f in enumerate(frames)]
    cut = [np.minimum(f, top) for f, top in zip(frames, tops, strict=True)]
    (finding,) = clipping.clipping_findings(cut)
    assert finding.figures["images cut at the high limit"] == 4
    assert "not one for each" in finding.sentence


def test_a_stack_that_is_mostly_cut_will_not_work():
    frames = static_stack(3)[1]
    cut = np.maximum(frames, np.rint(np.quantile(frames, 0.7)))
    assert clipping.clipping_findings(list(cut))[0].verdict == "will not work"


# --- grey levels ---


def stretched(frame):
    low, high = np.quantile(frame, [0.001, 0.999])
    return np.rint(255 * np.clip((frame - low) / (high - low), 0, 1)).astype(np.float32)


def scenes_of_different_brightness(n_frames=4):
    return [
        static_stack(1, 192, peak=12 + 4 * k, seed=k)[1][0] for k in range(n_frames)
    ]


def verdict_of_levels(images, dtype=np.uint8):
    (finding,) = grey_levels.stretch_findings(images, np.dtype(dtype))
    return finding.verdict


def test_camera_counts_have_no_comb():
    assert verdict_of_levels(scenes_of_different_brightness(), np.uint16) == "fine"


def test_images_stretched_one_by_one_have_no_common_noise_model():
    images = [stretched(image) for image in scenes_of_different_brightness()]
    assert verdict_of_levels(images) == "will not work"


def test_images_stretched_alike_need_care():
    images = [np.rint(3.3 * (i - 80)) for i in scenes_of_different_brightness()]
    assert verdict_of_levels(images, np.uint16) == "careful"


def test_whole_multiples_are_a_harmless_change_of_units():
    images = [16 * image for image in scenes_of_different_brightness()]
    assert verdict_of_levels(images, np.uint16) == "fine"


def each_to_unit(frames):
    low = frames.min((1, 2), keepdims=True)
    return (frames - low) / (frames.max((1, 2), keepdims=True) - low)


def each_to_standard(frames):
    mean, spread = frames.mean((1, 2)), frames.std((1, 2))
    return (frames - mean[:, None, None]) / spread[:, None, None]


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda frames: frames, "fine"),
        (lambda frames: frames / 65535, "careful"),
        (each_to_unit, "will not work"),
        (each_to_standard, "will not work"),
    ],
    ids=["counts", "common scale", "each to 0..1", "each to standard"],
)
def test_normalised_values_are_told(change, verdict):
    frames = change(static_stack(3)[1].astype(np.float64)).astype(np.float32)
    (finding,) = grey_levels.normalised_findings(list(frames), np.dtype(np.float32))
    assert finding.verdict == verdict


@pytest.mark.parametrize(("step", "verdict"), [(1, "fine"), (16, "careful")])
def test_rounding_that_hides_the_noise_is_told(step, verdict):
    frames = np.floor(static_stack(6)[1] / step)
    sample = sample_of(frames)
    noise = correlation.noise_spread(sample)
    (finding,) = grey_levels.rounding_findings(list(frames), noise)
    assert finding.verdict == verdict


# --- JPEG ---


def test_clean_stacks_have_no_squares(clean):
    assert compression.compression_findings(clean)[0].verdict == "fine"
    eight = sample_of(
        np.clip(clean.frames / clean.frames.max() * 255, 0, 255).astype(np.uint8)
    )
    assert compression.rounded_frequencies(eight.frames) < 0.3


@pytest.mark.parametrize("cropped", [0, 3], ids=["whole", "cropped"])
@pytest.mark.parametrize("quality", [60, 90])
def test_jpeg_is_noticed_wherever_its_squares_begin(quality, cropped):
    frames = moving_stack(4, 160)
    eight = np.clip((frames - 80.0) * 1.5, 0, 255).astype(np.uint8)
    read = []
    for frame in eight:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        read.append(np.asarray(Image.open(file))[cropped:, cropped:])
    (finding,) = compression.compression_findings(sample_of(np.stack(read)))
    assert finding.is_important


# --- hot and dead pixels ---


def test_no_pixel_of_a_clean_stack_is_odd(clean):
    odd = outliers.odd_pixels(clean)
    assert outliers.outlier_findings(odd, len(clean))[0].verdict == "fine"


def test_sharp_moving_points_are_not_hot():
    rng = np.random.default_rng(6)
    frames = []
    for _ in range(12):
        points = np.zeros((128, 128))
        points[tuple(rng.integers(0, 128, (2, 60)))] = 1
        light = gaussian_filter(points, 0.8)
        frames.append(rng.poisson(20 + 500 * light / light.max()))
    assert outliers.odd_pixels(sample_of(np.stack(frames))).share == 0


def test_hot_and_dead_pixels_are_found_and_replaced():
    rng = np.random.default_rng(7)
    frames = static_stack(12)[1]
    odd = rng.permutation(126 * 126)[:40]
    rows, columns = odd // 126 + 1, odd % 126 + 1
    frames[:, rows[:30], columns[:30]] += 200
    frames[:, rows[30:], columns[30:]] -= 80
    sample = sample_of(frames)
    found = outliers.odd_pixels(sample)
    assert found.hot[rows[:30], columns[:30]].mean() > 0.9
    assert found.dead[rows[30:], columns[30:]].mean() > 0.9
    assert found.hot.sum() + found.dead.sum() <= 42
    assert outliers.outlier_findings(found, 12)[0].verdict == "careful"
    mended = outliers.without(sample, found)
    assert mended.frames.max() < frames.max()
    assert np.array_equal(sample.frames, frames)


# --- calibration ---


def repeats(n=40, size=64, course=None, path=None, peak=400):
    """A calibration whose light follows `course` and whose place follows `path`."""
    camera, rng = Camera(), np.random.default_rng(8)
    scene = SCENES["nuclei"]((size, size), rng)
    frames = []
    for k in range(n):
        light = (
            scene if path is None else shift(scene, path[k], order=3, mode="nearest")
        )
        factor = 1 if course is None else course[k]
        signal = camera.offset + camera.gain * peak * factor * np.clip(light, 0, None)
        frames.append(camera.expose(signal, rng))
    return sample_of(np.stack(frames))


@pytest.mark.parametrize("kind", ["scmos", "emccd"])
def test_a_steady_calibration_is_fine(kind):
    camera = Camera(kind, gain=5, offset=200)
    stack = simulate_calibration(camera, n_repeats=40, size=64, peak_electrons=300)
    assert drift.drift_findings(sample_of(stack.observation))[0].verdict == "fine"


def test_bleaching_is_told_with_its_size():
    sample = repeats(course=np.linspace(1, 0.8, 40))
    (finding,) = drift.drift_findings(sample)
    assert finding.verdict == "will not work"
    # from the first to the last third: two thirds of 20 %, of a mean of 90 %
    assert finding.figures["change of the light"] == pytest.approx(-0.14, abs=0.03)
    assert "dimmer" in finding.sentence


def test_motion_is_told_in_pixels():
    path = [(0.06 * k, 0.08 * k) for k in range(40)]
    (finding,) = drift.drift_findings(repeats(path=path))
    assert finding.figures["motion, pixels"] == pytest.approx(2.6, rel=0.25)
    assert "moved by" in finding.sentence
    assert finding.is_important


@pytest.mark.parametrize(
    ("frames", "pixels", "verdict"),
    [
        (1, 10**6, "will not work"),
        (5, 10**6, "careful"),
        (100, 50, "careful"),
        (50, 65536, "fine"),
    ],
)
def test_calibrations_need_repeats_and_pixels(frames, pixels, verdict):
    assert coverage.repeats_findings(frames, pixels)[0].verdict == verdict


@pytest.mark.parametrize(
    ("outside", "verdict"), [(0, "fine"), (0.02, "careful"), (0.7, "will not work")]
)
def test_a_narrow_calibration_is_told_with_the_share_outside(outside, verdict):
    (finding,) = coverage.range_findings((90, 3020), (90, 1480), outside)
    assert finding.verdict == verdict
    if outside:
        assert "brighter" in finding.advice


# --- findings ---


def test_the_worst_verdict_of_each_question_is_kept():
    given = [
        findings.Finding("a", "fine"),
        findings.Finding("b", "careful"),
        findings.Finding("a", "will not work"),
        findings.Finding("a", "careful"),
    ]
    kept = findings.worst_of_each(given)
    assert [(each.name, each.verdict) for each in kept] == [
        ("a", "will not work"),
        ("b", "careful"),
    ]
    assert findings.worst(each.verdict for each in kept) == "will not work"


def test_a_figure_counts_beyond_chance_only():
    assert findings.graded(0.14, 0.02, (0.1, 0.3)) == "fine"
    assert findings.graded(0.17, 0.02, (0.1, 0.3)) == "careful"
    assert findings.graded(0.37, 0.02, (0.1, 0.3)) == "will not work"
