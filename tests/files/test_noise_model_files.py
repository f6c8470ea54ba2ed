import json
import math

import numpy as np
import pytest
import torch

from napari_ppn2v.core.noise_models import (
    NOISE_MODELS,
    GaussianMixtureModel,
    HistogramModel,
    PoissonGammaModel,
    PoissonGaussianModel,
    TabulatedLikelihood,
)
from napari_ppn2v.errors import BadFile, BadSetting, CannotWrite
from napari_ppn2v.files.library import NoiseModelLibrary
from napari_ppn2v.files.noise_model_files import (
    Provenance,
    convert,
    load_noise_model,
    read_provenance,
    save_noise_model,
)

PROVENANCE = Provenance("Evolve, gain 300", "Evolve", "300", "2026-05-01", "beads.tif")
WEIGHTS = np.array(
    [[-3.0, 4.0], [5.0, -1.0], [3.5, 5.0], [4.2, 5.5], [0.3, -0.2], [-0.1, 0.4]],
    np.float32,
)


def mixture():
    return GaussianMixtureModel(
        WEIGHTS, min_signal=100, max_signal=900, variance_floor=2.5, limits=(None, 1e3)
    )


def histogram(n=16):
    edges = np.linspace(0, 64, n + 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    mass = np.exp(-0.5 * ((centres - centres[:, None]) / 6) ** 2)
    return HistogramModel(mass / mass.sum(1, keepdims=True), edges, edges)


def camera(model_type):
    return model_type(
        gain=3.0, offset=100.0, read_noise=2.0, signal_range=(101.0, 250.0)
    )


MODELS = {
    "gmm": mixture,
    "histogram": histogram,
    "poisson-gaussian": lambda: camera(PoissonGaussianModel),
    "poisson-gamma": lambda: camera(PoissonGammaModel),
    "tabulated": lambda: TabulatedLikelihood.from_model(mixture(), step=0.25),
}


def likelihoods(model, n=40):
    low, high = model.signal_range
    s = torch.linspace(low - 5, high + 5, n)
    return model.log_likelihood(torch.linspace(low, high, n)[:, None], s[None])


def test_every_registered_kind_is_tried_here():
    assert set(MODELS) == set(NOISE_MODELS)


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_reads_back_with_identical_likelihoods(kind, tmp_path):
    model = MODELS[kind]()
    path = save_noise_model(tmp_path / "model", model, PROVENANCE)
    assert path.name == "model.npz"
    again = load_noise_model(path)
    assert torch.equal(likelihoods(model), likelihoods(again))
    assert read_provenance(path) == PROVENANCE


def test_mixture_file_of_ppn2v_has_the_published_keys_shapes_and_rows(tmp_path):
    path = save_noise_model(tmp_path / "a.npz", mixture(), dialect="ppn2v-gmm")
    with np.load(path, allow_pickle=False) as file:
        assert set(file) == {"trained_weight", "min_signal", "max_signal", "min_sigma"}
        np.testing.assert_array_equal(file["trained_weight"], WEIGHTS)
        assert file["min_signal"].shape == (1,)
        assert file["min_sigma"].shape == ()
        assert file["min_sigma"] == 2.5


@pytest.mark.parametrize("shape", [(), (1,)], ids=["careamics", "ppn2v"])
def test_mixture_file_of_others_gives_the_published_likelihood(shape, tmp_path):
    np.savez(
        tmp_path / "gmm.npz",
        trained_weight=WEIGHTS,
        min_signal=np.full(shape, 100, np.float32),
        max_signal=np.full(shape, 900, np.float32),
        min_sigma=np.array(50.0),
    )
    model = load_noise_model(tmp_path / "gmm.npz")
    for s, x in [(120.0, 131.0), (500.0, 430.0), (880.0, 1200.0), (60.0, 75.0)]:
        z = (s - 100) / 800
        g, variances, logits = ([], [], [])
        for k in range(2):
            w = WEIGHTS.astype(float)
            g.append(w[k, 0] + w[k, 1] * z)
            variance = math.exp(w[2 + k, 0]) + math.exp(w[2 + k, 1]) * z
            variances.append(max(variance, 50.0))
            logits.append(math.exp(w[4 + k, 0] + w[4 + k, 1] * z))
        alpha = [a / sum(logits) for a in logits]
        centre = sum(a * b for a, b in zip(alpha, g, strict=True))
        p = 1e-10 + sum(
            a
            * math.exp(-((x - s - gk + centre) ** 2) / (2 * v))
            / math.sqrt(2 * math.pi * v)
            for a, gk, v in zip(alpha, g, variances, strict=True)
        )
        found = model.log_likelihood(torch.tensor(x), torch.tensor(s))
        assert float(found) == pytest.approx(math.log(p), abs=2e-4)


def test_histogram_file_of_pn2v_has_the_published_layout(tmp_path):
    model = histogram()
    path = save_noise_model(tmp_path / "h", model, dialect="pn2v-histogram")
    content = np.load(path, allow_pickle=False)
    assert content.shape == (3, 16, 16)
    assert content.dtype == np.float64
    np.testing.assert_allclose(content[0].sum(1), 1)
    np.testing.assert_allclose(content[1][:, 3], np.arange(0, 64, 4))
    np.testing.assert_allclose(content[2][:, 3], np.arange(4, 65, 4))
    again = load_noise_model(path)
    assert torch.equal(likelihoods(model), likelihoods(again))


def test_histogram_of_pn2v_is_centred_unless_the_old_way_is_asked_for(tmp_path):
    path = save_noise_model(tmp_path / "h", histogram(), dialect="pn2v-histogram")
    x = torch.arange(0, 64, 0.1)[:, None]
    s = torch.tensor([30.0])
    means = []
    for lower_edge in (False, True):
        model = load_noise_model(path, lower_edge=lower_edge)
        p = model.log_likelihood(x, s).exp()
        means.append(float((p * x).sum() / p.sum()))
    assert means[0] == pytest.approx(30, abs=0.05)
    assert means[1] == pytest.approx(32, abs=0.05)  # bins are 4 wide


def test_convert_between_dialects(tmp_path):
    own = save_noise_model(tmp_path / "own", mixture(), PROVENANCE)
    foreign = convert(own, tmp_path / "foreign", dialect="ppn2v-gmm")
    back = convert(foreign, tmp_path / "back", dialect="own")
    assert load_noise_model(back).n_components == 2
    assert read_provenance(back).source == "foreign.npz"


@pytest.mark.parametrize("dialect", ["ppn2v-gmm", "pn2v-histogram"])
def test_a_dialect_that_cannot_hold_the_model_is_refused(dialect, tmp_path):
    with pytest.raises(BadSetting, match="poisson-gamma"):
        save_noise_model(tmp_path / "c", MODELS["poisson-gamma"](), dialect=dialect)
    assert list(tmp_path.iterdir()) == []


def test_unequal_bins_do_not_become_a_pn2v_histogram(tmp_path):
    model = HistogramModel(np.full((3, 4), 0.25), np.arange(4), np.arange(5))
    with pytest.raises(BadSetting, match="3 bins of signal and 4"):
        save_noise_model(tmp_path / "h", model, dialect="pn2v-histogram")


def broken_header(**changes):
    header = {"schema": "napari-ppn2v noise model", "version": 1, "kind": "gmm"}
    return {"header": np.array(json.dumps({**header, "values": {}, **changes}))}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"II*\0 not numpy at all", "not a noise model", id="foreign"),
        pytest.param(b"PK\x03\x04 cut off", "damaged", id="cut"),
        pytest.param(b"\x93NUMPY\x01\x00v\x00{'descr'", "damaged", id="cut npy"),
        pytest.param({"image": np.zeros(3)}, "it holds image", id="other arrays"),
        pytest.param(broken_header(version=9), "version 9", id="newer"),
        pytest.param(broken_header(kind="x"), "kind 'x'", id="unknown kind"),
        pytest.param(broken_header(), "coefficients", id="incomplete"),
        pytest.param({"header": np.array("{")}, "damaged", id="bad header"),
        pytest.param(
            {
                "trained_weight": np.full((3, 2), np.nan),
                "min_signal": np.zeros(1),
                "max_signal": np.ones(1),
                "min_sigma": np.ones(()),
            },
            "not finite",
            id="NaN weights",
        ),
        pytest.param(
            {
                "trained_weight": np.zeros((4, 2)),
                "min_signal": np.zeros(1),
                "max_signal": np.ones(1),
                "min_sigma": np.ones(()),
            },
            "damaged",
            id="wrong rows",
        ),
        pytest.param(
            {"header": np.array({"a": 1}, dtype=object)}, "damaged", id="pickle"
        ),
    ],
)
def test_unusable_files_are_named_errors(content, message, tmp_path):
    path = tmp_path / "model.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(BadFile, match=message):
        load_noise_model(path)


def test_a_missing_file_is_a_named_error(tmp_path):
    with pytest.raises(BadFile, match="does not exist"):
        load_noise_model(tmp_path / "none.npz")


def test_an_array_of_another_shape_is_no_histogram(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 4, 4)))
    with pytest.raises(BadFile, match=r"\(5, 4, 4\)"):
        load_noise_model(tmp_path / "a.npy")


def test_a_missing_folder_is_a_named_error(tmp_path):
    with pytest.raises(CannotWrite):
        save_noise_model(tmp_path / "no" / "folder" / "m.npz", mixture())


def test_library_keeps_lists_loads_and_deletes(tmp_path):
    library = NoiseModelLibrary(tmp_path / "library")
    assert library.entries() == []
    library.save(mixture(), PROVENANCE)
    library.save(histogram(), Provenance("newer", date="2026-06-01"))
    (library.folder / "notes.npz").write_text("not a model")
    assert [e.provenance.name for e in library.entries()] == ["newer", PROVENANCE.name]
    assert torch.equal(
        likelihoods(library.load(PROVENANCE.name)), likelihoods(mixture())
    )
    library.delete("newer")
    assert [e.provenance for e in library.entries()] == [PROVENANCE]


def test_library_refuses_a_taken_name_and_names_what_it_has(tmp_path):
    library = NoiseModelLibrary(tmp_path)
    library.save(mixture(), Provenance("one"))
    with pytest.raises(BadSetting, match="already"):
        library.save(histogram(), Provenance("one"))
    library.save(histogram(), Provenance("one"), replacing=True)
    assert library.load("one").kind == "histogram"
    assert library.entries()[0].provenance.date != ""
    with pytest.raises(BadFile, match="'one'"):
        library.load("two")
    with pytest.raises(BadSetting, match="name"):
        library.save(mixture(), Provenance("../"))


def test_library_names_stay_inside_its_folder(tmp_path):
    library = NoiseModelLibrary(tmp_path / "library")
    entry = library.save(mixture(), Provenance("../../escape"))
    assert entry.path.parent == library.folder


def test_empty_rows_of_a_pn2v_histogram_take_the_shape_of_the_nearest(tmp_path):
    mass = histogram(32).mass.numpy().copy()
    mass[14:] = 1e-29
    edges = np.arange(0.0, 65, 2)
    lower, upper = (
        np.broadcast_to(e[:, None], (32, 32)) for e in (edges[:-1], edges[1:])
    )
    np.save(tmp_path / "h.npy", np.stack([mass, lower, upper]))
    model = load_noise_model(tmp_path / "h.npy")
    mean, variance = model.moments(torch.tensor([25.0, 33.0]))
    assert mean.tolist() == pytest.approx([25, 33], abs=0.3)
    assert variance.sqrt().tolist() == pytest.approx([6, 6], abs=0.3)
