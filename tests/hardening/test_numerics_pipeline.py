"""Pixels at the edge of what numbers hold: a finite result, or a refusal in words."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import zarr
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.metrics import psnr, scale_invariant_psnr, ssim
from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.noise_model_config import NoiseModelConfig
from napari_ppn2v.errors import BadData, FitFailed, PPN2VError
from napari_ppn2v.files.images import open_image
from napari_ppn2v.pipeline.config import InferenceConfig, RunConfig, TrainingConfig
from napari_ppn2v.pipeline.data_check import check_stack
from napari_ppn2v.pipeline.result_check import check_result
from napari_ppn2v.stop import StopToken

SIDE = 32
PLAIN = simulate_stack(
    Camera(), n_frames=3, size=SIDE, peak_electrons=40, seed=0
).observation.astype(np.float64)
LAST = np.zeros(PLAIN.shape, bool)
LAST[-1, 5, 7] = True
RANDOM = np.random.default_rng(0)
BRIGHT = np.median(PLAIN) < PLAIN

FINITE = {
    "plain": PLAIN,
    "as float16": PLAIN.astype(np.float16),
    "as int64": PLAIN.astype(np.int64),
    "in big-endian integers": PLAIN.astype(">u2"),
    "full 16-bit range": RANDOM.integers(0, 2**16, PLAIN.shape).astype(np.uint16),
    "negative": PLAIN - 10_000,
    "a single hot pixel": np.where(LAST, 65535, PLAIN),
    "all frames alike but one": np.concatenate([PLAIN[:2], PLAIN[:1] * 0 + 5]),
    "half constant": np.where(np.arange(SIDE) < SIDE // 2, 100.0, PLAIN),
    "two values": BRIGHT * 1.0,
    "clipped": np.clip(PLAIN, 110, 140),
    "between 0 and 1": PLAIN / 65535,
    "tiny": PLAIN * 1e-6,
    "large": PLAIN * 1e6,
    "17 x 33 pixels": np.concatenate([PLAIN, PLAIN], axis=2)[:, :17, :33],
    "the smallest frame": PLAIN[:1, :16, :16],
}
REFUSED = {
    "NaN": (np.where(LAST, np.nan, PLAIN), "1 values that are not a number"),
    "infinite": (np.where(LAST, np.inf, PLAIN), "1 that are infinite"),
    "beyond float32": (PLAIN * 1e300, "beyond 3.4e38"),
    "constant": (PLAIN * 0 + 7, "the same value"),
    "zero": (PLAIN * 0, "the same value"),
    "giants": (PLAIN * 1e30, "standard deviation"),
    "a giant in the last frame": (np.where(LAST, 1e30, PLAIN), "single pixels"),
    "dwarfs": (PLAIN * 1e-30, "multiply"),
    "below float32": (PLAIN * 1e-300, "the same value"),
    "a small difference of large values": (PLAIN + 1e9, "Subtract a constant"),
    "extremes of int64": (
        np.where(BRIGHT, 2**63 - 1, -(2**63)).astype(np.int64),
        "pixel type",
    ),
    "extremes of uint64": (
        np.where(BRIGHT, 2**64 - 1, 0).astype(np.uint64),
        "pixel type",
    ),
    "boolean": (BRIGHT, "mask"),
    "complex": (PLAIN + 1j, "magnitude"),
    "objects": (PLAIN.astype(object), "holds no grey values"),
    "text": (PLAIN.astype(str), "holds no grey values"),
    "no frame": (PLAIN[:0], "is empty"),
    "a single pixel": (PLAIN[:, :1, :1], "1 x 1 pixels"),
    "smaller than the network": (PLAIN[:, :9, :9], "9 x 9 pixels"),
}


def tiny(method: str = "n2v", kind: str = "gmm") -> RunConfig:
    """A network and a training that take a tenth of a second."""
    training = TrainingConfig(
        n_steps=6,
        batch_size=2,
        patch_size=16,
        steps_per_validation=3,
        learning_rate=1.5e-3,  # few steps take twice as much, and rounding grows
    )
    return RunConfig(
        method=method,
        network=UNetConfig(n_levels=2, n_filters=4),
        pretraining=training,
        training=training,
        refinement=training,
        inference=InferenceConfig(posterior_std=method != "n2v"),
        noise_model=NoiseModelConfig(kind=kind),
    )


def denoise(image, method="n2v", kind="gmm", **options):
    """Denoise with no warning allowed; results have to be finite."""
    config = tiny(method, kind)
    found = ppn2v.denoise(
        image, axes="TYX", config=config, device="cpu", threads=1, **options
    )
    assert found.image.shape == image.shape
    assert np.isfinite(found.image).all()
    if found.posterior_std is not None:
        assert np.isfinite(found.posterior_std).all()
        assert (found.posterior_std >= 0).all()
    return found


@pytest.mark.parametrize("name", FINITE)
def test_odd_images_give_finite_results(name):
    denoise(FINITE[name], "refined")


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize(("method", "kind"), [("n2v", "gmm"), ("pn2v", "histogram")])
def test_odd_images_give_finite_results_by_every_method(name, method, kind):
    denoise(FINITE[name], method, kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("method", ["refined", "pn2v"])
@pytest.mark.parametrize("kind", ["auto", "camera"])
def test_odd_images_give_finite_results_or_no_camera(name, method, kind):
    try:
        denoise(FINITE[name], method, kind)
    except FitFailed:  # camera models do not fit everything
        assert kind == "camera"


@pytest.mark.parametrize("name", REFUSED)
def test_images_without_grey_values_are_refused_before_training(name):
    image, words = REFUSED[name]
    with pytest.raises(BadData, match=words):
        denoise(image)


def test_more_pixels_than_any_drive_holds_are_refused(tmp_path):
    shape, chunks = (2**30, 2**20, 2**20), (1, 64, 64)
    options = {"shape": shape, "chunks": chunks, "dtype": "u2"}
    zarr.create_array(str(tmp_path / "endless.zarr"), **options)
    source = open_image(tmp_path / "endless.zarr")
    with pytest.raises(BadData, match="1073741824, 1048576, 1048576"):
        as_frames(source.data, "TYX")


@pytest.mark.parametrize("name", ["one photon", "few photons"])
def test_images_of_almost_no_photons_are_denoised_or_too_few(name):
    image = np.zeros(PLAIN.shape)
    rng = np.random.default_rng(1)
    image[LAST if name == "one photon" else rng.random(PLAIN.shape) < 0.01] = 1
    denoise(image, "n2v")
    try:
        values, reason = denoise(image, "refined", "histogram").image, ""
    except FitFailed as error:
        values, reason = image, str(error)
    assert np.isfinite(values).all()
    assert not reason or "Use more or larger frames" in reason


def test_one_grey_value_more_than_the_rest_is_too_few_for_a_histogram():
    image = np.zeros(PLAIN.shape)
    image[np.random.default_rng(1).random(PLAIN.shape) < 0.01] = 1
    with pytest.raises(FitFailed, match="Use more or larger frames"):
        denoise(image, "refined", "histogram")


@pytest.mark.parametrize("factor", [2.0**-12, 2.0**15])
@pytest.mark.parametrize("method", ["n2v", "refined"])
def test_scaling_the_image_by_a_power_of_two_scales_the_result(method, factor):
    spread = float(PLAIN.std())
    plain = denoise(PLAIN / 4, method)
    scaled = denoise(PLAIN * factor / 4, method)
    difference = np.abs(scaled.image / factor - plain.image).max()
    assert difference < (1e-3 if method == "n2v" else 0.1) * spread


@pytest.mark.parametrize("constant", [-100.0, 30_000.0])
def test_adding_a_constant_to_the_image_adds_it_to_the_result(constant):
    spread = float(PLAIN.std())
    plain, moved = denoise(PLAIN), denoise(PLAIN + constant)
    # float32 holds 30 000 to 0.002; the training turns rounding into a bit more
    assert np.abs(moved.image - constant - plain.image).max() < 0.02 * spread


@pytest.fixture(scope="module")
def trained():
    return denoise(PLAIN, "refined").denoiser


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
IMAGES = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=3, max_side=6), elements=FLOATS
)


@settings(max_examples=40)
@given(image=IMAGES)
@example(image=np.full((16, 16), 1e30, np.float32))
@example(image=np.full((1, 1), -1e30, np.float32))
@example(image=np.zeros((2, 3, 5), np.float32))
def test_a_trained_model_answers_any_image_with_numbers_or_a_refusal(trained, image):
    try:
        axes = "TYX"[-image.ndim :]
        found = ppn2v.apply(trained, image, axes=axes, posterior_std=True, device="cpu")
    except PPN2VError:
        assert not np.isfinite(image).all() or np.abs(image).max() > 1e15
        return
    assert np.isfinite(found.image).all()
    assert np.isfinite(found.posterior_std).all()


def run_to_end(job):
    try:
        while True:
            next(job)
    except StopIteration as end:
        return end.value


def not_finite(value, path=""):
    """Name the parts of a nested result that are not finite."""
    if isinstance(value, float):
        return [] if np.isfinite(value) else [path]
    if isinstance(value, np.ndarray):
        return [] if value.dtype.kind != "f" or np.isfinite(value).all() else [path]
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return []
    parts = (not_finite(part, f"{path}.{key}") for key, part in value.items())
    return [name for found in parts for name in found]


@pytest.mark.parametrize(
    "name",
    [
        name
        if name in ("plain", "two values", "large")
        else pytest.param(name, marks=pytest.mark.slow)
        for name in FINITE
    ],
)
def test_the_check_of_a_result_has_finite_figures(name):
    trained = denoise(FINITE[name], "refined").denoiser
    frames = as_frames(FINITE[name], "TYX")
    check = run_to_end(check_result(trained, [frames], stop=StopToken()))
    assert not not_finite(check)


@settings(max_examples=25)
@given(
    frames=arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40)),
        elements=st.sampled_from([0.0, 1.0, 7.0, 100.0, 65535.0, -5.0, 1e30, np.nan]),
        fill=st.sampled_from([0.0, 100.0]),
    )
)
def test_the_data_check_ends_with_findings_or_a_refusal(frames):
    try:
        found = run_to_end(check_stack([as_frames(frames, "TYX")], stop=StopToken()))
    except PPN2VError:
        return
    for finding in found.findings:
        assert all(np.isfinite(value) for value in finding.figures.values())


@settings(max_examples=30)
@given(
    truth=arrays(np.float32, (12, 12), elements=FLOATS, fill=st.just(np.float32(1))),
    image=arrays(np.float32, (12, 12), elements=FLOATS, fill=st.just(np.float32(2))),
)
@example(truth=np.ones((12, 12), np.float32), image=np.ones((12, 12), np.float32))
@example(truth=np.eye(12, dtype=np.float32), image=np.full((12, 12), 3e38, np.float32))
def test_metrics_are_numbers_or_refusals(truth, image):
    for score in (psnr, scale_invariant_psnr, ssim):
        try:
            value = score(image, truth)
        except PPN2VError:
            continue
        assert not np.isnan(value.mean), score.__name__


SIGNALS = st.sampled_from([0.0, 1.0, 100.0, -100.0, 65535.0, 1e-30, 1e9, 1e30, np.nan])


@pytest.mark.parametrize(
    "kind",
    [
        "gmm",
        pytest.param("histogram", marks=pytest.mark.slow),
        pytest.param("camera", marks=pytest.mark.slow),
    ],
)
@settings(max_examples=12)
@given(offset=SIGNALS, spread=SIGNALS, noise=SIGNALS, seed=st.integers(0, 99))
def test_fits_of_noise_models_end_in_a_model_or_a_refusal(
    kind, offset, spread, noise, seed
):
    rng = np.random.default_rng(seed)
    signal = offset + spread * rng.random((2, 40, 40))
    with np.errstate(all="ignore"):
        observation = signal + noise * rng.normal(size=signal.shape)
    try:
        fitted = ppn2v.fit_noise_model(
            signal=signal, observation=observation, config=NoiseModelConfig(kind=kind)
        )
    except PPN2VError:
        return
    import torch

    low, high = fitted.model.signal_range
    s = torch.linspace(low, high, 9)
    assert torch.isfinite(fitted.model.log_likelihood(s[:, None], s[None])).all()


class Claiming:
    """A source that claims a shape, as damaged files make readers do."""

    dtype = np.dtype("u2")

    def __init__(self, *shape):
        self.shape = shape


def test_an_image_of_negative_size_is_refused():
    with pytest.raises(BadData, match=r"\(2, -24, -20\)"):
        as_frames(Claiming(2, -24, -20), "TYX")
