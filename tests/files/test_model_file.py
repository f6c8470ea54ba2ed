"""A model file gives back exactly the denoiser, and nothing foreign gets in."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.core.noise_models.fitting import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import BadFile
from napari_ppn2v.events import drain
from napari_ppn2v.files.model_file import (
    is_model_file,
    load_model,
    read_model_header,
    save_model,
)


@pytest.fixture(scope="module", params=["gmm", "histogram", "poisson-gaussian"])
def noise_model(request):
    rng = np.random.default_rng(0)
    signal = rng.uniform(110, 300, (3, 64, 64)).astype(np.float32)
    observation = signal + rng.normal(0, np.sqrt(9 + 2 * (signal - 100)))
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        signal, np.rint(observation).astype(np.float32)
    )
    config = NoiseModelConfig(kind=request.param, n_components=2)
    return drain(fit_noise_model(pairs, config)).model


def network(kind, n_samples, **options):
    torch.manual_seed(0)
    config = UNetConfig(n_filters=4, n_levels=2, **options)
    return PriorNetwork(config, kind, n_samples, Normalisation(150.0, 40.0)).eval()


@pytest.fixture
def denoiser(noise_model):
    return Denoiser(
        model=network("gaussian", 6),
        noise_model=noise_model,
        training_blindness=Blindness(4, "mean"),
        estimate="mmse",
        is_blind=True,
        reason="it was best",
        provenance={"seed": 3, "data": "abc"},
        refined=network("gaussian", 8),
    )


def image():
    return np.random.default_rng(1).uniform(100, 300, (21, 30)).astype(np.float32)


@pytest.mark.parametrize("estimate", ["mmse", "prior-mean", "refined"])
def test_a_saved_denoiser_gives_the_same_bits(denoiser, tmp_path, estimate):
    path = save_model(tmp_path / "a.ppn2v", replace(denoiser, estimate=estimate))
    loaded = load_model(path)
    one, other = (d.estimate_image(image())
                  for d in (replace(denoiser, estimate=estimate), loaded))  # fmt: skip
    np.testing.assert_array_equal(one.prior_mean, other.prior_mean)
    np.testing.assert_array_equal(one.mmse, other.mmse)
    np.testing.assert_array_equal(one.posterior_std, other.posterior_std)
    assert loaded.reason == denoiser.reason
    assert loaded.provenance == denoiser.provenance
    assert loaded.is_blind is True


def test_noise2void_without_noise_model_is_saved_too(tmp_path):
    denoiser = Denoiser(
        network("free", 1), None, Blindness(4, "random"), "prior-mean", False
    )
    loaded = load_model(save_model(tmp_path / "n2v.ppn2v", denoiser))
    assert loaded.noise_model is None
    assert loaded.refined is None
    np.testing.assert_array_equal(
        loaded.estimate_image(image()).prior_mean,
        denoiser.estimate_image(image()).prior_mean,
    )


def test_a_file_that_names_no_activation_is_of_a_network_with_relu(tmp_path):
    old = network("free", 1, activation="relu")
    denoiser = Denoiser(old, None, Blindness(4, "random"), "prior-mean", False)
    path = save_model(tmp_path / "old.ppn2v", denoiser)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    del header["model"]["network"]["activation"]
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)
    loaded = load_model(path)
    assert loaded.model.config.activation == "relu"
    np.testing.assert_array_equal(
        loaded.estimate_image(image()).prior_mean,
        denoiser.estimate_image(image()).prior_mean,
    )


def test_the_header_can_be_read_alone(denoiser, tmp_path):
    path = save_model(tmp_path / "a.ppn2v", denoiser)
    header = read_model_header(path)
    assert header["provenance"]["seed"] == 3
    assert header["noise_model"]["kind"] == denoiser.noise_model.kind
    assert is_model_file(path)


BAD = {
    "empty": b"",
    "text": b"hello",
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x07builtins\x94.",
    "zip": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_foreign_files_are_refused(tmp_path, content):
    path = tmp_path / "foreign.ppn2v"
    path.write_bytes(content)
    assert not is_model_file(path)
    with pytest.raises(BadFile, match=r"foreign\.ppn2v"):
        load_model(path)


def test_a_truncated_model_file_is_refused(denoiser, tmp_path):
    path = save_model(tmp_path / "a.ppn2v", denoiser)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadFile, match="damaged"):
        load_model(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadFile, match=r"no model file.*nothing\.ppn2v"):
        load_model(tmp_path / "nothing.ppn2v")


def edited(path, change):
    """Rewrite the header of a model file."""
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def test_a_file_of_a_newer_version_asks_for_an_update(denoiser, tmp_path):
    path = save_model(tmp_path / "a.ppn2v", denoiser)
    edited(path, lambda header, arrays: header.update(schema=99))
    with pytest.raises(BadFile, match=r"newer version.*Update"):
        load_model(path)


DAMAGE = {
    "a weight is missing": lambda h, a: a.pop(next(n for n in a if "down" in n)),
    "the network is unknown": lambda h, a: h["model"].update(network_kind="other"),
    "a setting is out of range": lambda h, a: h["model"]["network"].update(n_levels=99),
    "the noise model is unknown": lambda h, a: h["noise_model"].update(kind="other"),
    "a part is missing": lambda h, a: h.pop("training_blindness"),
    "a part has another type": lambda h, a: h.update(model=[1]),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_damaged_content_is_refused(denoiser, tmp_path, change):
    path = save_model(tmp_path / "a.ppn2v", denoiser)
    edited(path, change)
    with pytest.raises(BadFile, match="damaged"):
        load_model(path)


def test_objects_in_the_file_are_not_unpickled(denoiser, tmp_path):
    path = save_model(tmp_path / "a.ppn2v", denoiser)
    evil = tmp_path / "evil.npy"
    np.save(evil, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(evil, "weight/evil.npy")
    with pytest.raises(BadFile):
        load_model(path)


def test_the_noise_model_of_the_fixture_is_of_its_kind(noise_model):
    assert noise_model.kind in ("gmm", "histogram", PoissonGaussianModel.kind)
