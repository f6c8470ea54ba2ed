"""A denoiser leaves as a package that gives the same pixels without our code."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

import napari_ppn2v as ppn2v
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.export.likelihoods import LIKELIHOODS, exported_likelihood
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.noise_models import (
    NOISE_MODELS,
    GaussianMixtureModel,
    PoissonGammaModel,
    PoissonGaussianModel,
    TabulatedLikelihood,
)
from napari_ppn2v.core.noise_models.histogram import HistogramSettings, fit_histogram
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.core.std_calibration import StdCalibration
from napari_ppn2v.errors import BadData, BadFile, BadSetting, CannotWrite
from napari_ppn2v.events import Notice, StepDone, collect, drain
from napari_ppn2v.files.bioimage_card import Author, ModelCard, name_from
from napari_ppn2v.files.bioimage_model import (
    is_bioimage_model,
    read_description,
    smallest_side,
)
from napari_ppn2v.files.model_file import load_model, save_model
from napari_ppn2v.files.noise_model_files import load_noise_model
from napari_ppn2v.pipeline.export_job import (
    COMPARED,
    RUN,
    export_denoiser,
    run_saved_module,
    saved_module,
)
from napari_ppn2v.stop import StopToken

# float32 on both sides; sums come in another order where pixels are hidden
TOLERANCE = 2e-3  # ADU, for signals of 100 to 300 ADU and noise of 3 to 20


@pytest.fixture(autouse=True)
def single_precision(monkeypatch):
    """Compare arithmetic: some processors denoise in bfloat16, packages never do."""
    monkeypatch.setattr(
        "napari_ppn2v.core.devices.has_fast_bfloat16", lambda device: False
    )


LIMITS = (105.0, 310.0)


def histogram():
    """Fitted to signals of 110 to 300 ADU under growing noise, clipped at both ends."""
    rng = np.random.default_rng(0)
    signal = rng.uniform(110, 300, (3, 64, 64)).astype(np.float32)
    noisy = signal + rng.normal(0, np.sqrt(9 + 2 * (signal - 100)))
    pairs = SignalObservationPairs.from_pseudo_ground_truth(
        signal, np.rint(noisy).clip(*LIMITS).astype(np.float32)
    )
    settings = HistogramSettings(n_bins=40, data_range=LIMITS)
    return drain(fit_histogram(pairs.histogram(), settings))


def mixture():
    """Two Gaussians, one of which drifts from the other as the signal grows."""
    rows = [[2.0, 9.0], [-1.0, 4.0], [3.0, 5.5], [4.0, 5.0], [0.5, 1.0], [0.0, -0.5]]
    return GaussianMixtureModel(
        np.array(rows),
        min_signal=110,
        max_signal=300,
        variance_floor=4.0,
        likelihood_floor=1e-10,
        limits=LIMITS,
    )


@pytest.fixture(scope="module")
def noise_models():
    """One of each kind, all with clipping at both ends."""
    camera = {"gain": 2.0, "offset": 100.0, "read_noise": 3.0}
    options = {**camera, "signal_range": (110.0, 300.0), "limits": LIMITS}
    made = (
        mixture(),
        histogram(),
        PoissonGaussianModel(**options),
        PoissonGammaModel(**options),
        TabulatedLikelihood.from_model(mixture()),
    )
    return {model.kind: model for model in made}


def network(kind="gaussian", n_samples=6, **options):
    torch.manual_seed(0)
    config = UNetConfig(n_filters=4, n_levels=2, **options)
    model = PriorNetwork(config, kind, n_samples, Normalisation(190.0, 50.0))
    return model.eval()


def image(height=37, width=50):
    rng = np.random.default_rng(1)
    return np.rint(rng.uniform(95, 320, (height, width))).astype(np.float32)


@pytest.fixture
def denoiser(noise_models):
    return Denoiser(
        model=network(),
        noise_model=noise_models["gmm"],
        training_blindness=Blindness(3, "mean"),
        estimate="mmse",
        is_blind=False,
        refined=network(n_samples=4),
    )


def assert_same(denoiser, observation=None):
    """The saved module, loaded again, does what the denoiser does."""
    seen = image() if observation is None else observation
    has_std = denoiser.gives_posterior_std
    weights = saved_module(denoiser, with_std=has_std)
    found = run_saved_module(weights, seen[None, None], with_std=has_std)
    own = denoiser.estimate_image(seen)
    np.testing.assert_allclose(
        found["estimate"][0, 0], denoiser.result(own), atol=TOLERANCE, rtol=0
    )
    if has_std:
        np.testing.assert_allclose(
            found["posterior_std"][0, 0], own.posterior_std, atol=TOLERANCE, rtol=1e-5
        )


def test_every_kind_of_noise_model_can_leave():
    assert set(LIKELIHOODS) == set(NOISE_MODELS)


@pytest.mark.parametrize("kind", NOISE_MODELS)
def test_the_likelihood_is_that_of_the_noise_model(noise_models, kind):
    model = noise_models[kind]
    assert None not in model.limits
    lowest, highest = model.limits
    observation = torch.linspace(lowest - 5, highest + 5, 211).round()[:, None]
    signal = torch.linspace(60, 400, 97).expand(len(observation), -1)
    found = exported_likelihood(model)(observation, signal)
    torch.testing.assert_close(
        found, model.log_likelihood(observation, signal), atol=1e-4, rtol=1e-5
    )


def test_a_histogram_read_from_lower_edges_keeps_its_likelihood(noise_models):
    state = noise_models["histogram"].state() | {"interpolation": "lower-edge"}
    model = type(noise_models["histogram"]).from_state(state)
    x, s = torch.tensor([[150.0], [200.5]]), torch.linspace(120, 290, 50).expand(2, -1)
    torch.testing.assert_close(
        exported_likelihood(model)(x, s), model.log_likelihood(x, s)
    )


@pytest.mark.parametrize("kind", NOISE_MODELS)
def test_mmse_is_the_same_with_every_noise_model(denoiser, noise_models, kind):
    assert_same(replace(denoiser, noise_model=noise_models[kind]))


@pytest.mark.parametrize("estimate", ["mmse", "prior-mean", "refined"])
@pytest.mark.parametrize("averages", [False, True], ids=["once", "eight orientations"])
def test_every_estimate_is_the_same(denoiser, estimate, averages):
    assert_same(
        replace(denoiser, estimate=estimate, averages_orientations=averages),
    )


@pytest.mark.parametrize("replacement", ["mean", "random"])
@pytest.mark.parametrize("estimate", ["mmse", "prior-mean"])
def test_blind_estimates_are_the_same(denoiser, replacement, estimate):
    hidden = Blindness(3, replacement)
    assert_same(
        replace(
            denoiser, training_blindness=hidden, is_blind=True, estimate=estimate
        )
    )  # fmt: skip


def test_free_samples_are_the_same(denoiser):
    assert_same(replace(denoiser, model=network("free", 20)))


def test_hundreds_of_samples_differ_by_less_than_their_table_is_fine(denoiser):
    """Ours looks likelihoods up; the package computes each."""
    many = replace(denoiser, model=network("free", 100))
    weights = saved_module(many, with_std=True)
    found = run_saved_module(weights, image()[None, None], with_std=True)
    own = many.estimate_image(image())
    sd = float(np.sqrt(9 + 2 * (190 - 100)))  # of the noise at the mean signal
    assert np.abs(found["estimate"][0, 0] - own.mmse).max() < 0.01 * sd


@pytest.mark.parametrize("is_blind", [False, True], ids=["one pass", "blind"])
def test_noise2void_without_noise_model_is_the_same(is_blind):
    model = network("free", 1, batch_norm=True, merge="concatenate")
    hidden = Blindness(4, "random")
    assert_same(Denoiser(model, None, hidden, "prior-mean", is_blind))


def test_a_network_taught_with_targets_is_the_same():
    assert_same(
        Denoiser(network("free", 1), None, None, "prior-mean", False, target="clean")
    )


@pytest.mark.parametrize(
    "nodes",
    [((1.0, 3.0, 9.0), (2.0, 4.0, 20.0)), ((2.0,), (3.0,))],
    ids=["three nodes", "one node"],
)
def test_the_uncertainty_is_calibrated_as_ours(denoiser, nodes):
    calibration = StdCalibration(*nodes, estimate="mmse", is_blind=False)
    assert_same(replace(denoiser, std_calibration=calibration))


@pytest.mark.parametrize("size", [(5, 6), (7, 100), (33, 31)])
def test_any_size_will_do(denoiser, size):
    assert_same(denoiser, image(*size))


def test_images_of_a_batch_do_not_mix(denoiser):
    weights = saved_module(replace(denoiser, is_blind=True), with_std=True)
    both = np.stack([image(), image()[::-1].copy()])[:, None]
    together = run_saved_module(weights, both, with_std=True)
    for index in range(2):
        alone = run_saved_module(weights, both[index : index + 1], with_std=True)
        for name, part in alone.items():
            np.testing.assert_allclose(together[name][index], part[0], atol=1e-3)


def test_the_module_holds_no_device_so_that_it_can_move(denoiser):
    with zipfile.ZipFile(io.BytesIO(saved_module(denoiser, with_std=True))) as archive:
        code = [archive.read(n) for n in archive.namelist() if n.endswith(".py")]
    assert code
    assert not [text for text in code if b"torch.device(" in text]


# -- the package ---------------------------------------------------------------------


@pytest.fixture
def package(denoiser, tmp_path):
    """A package with a recording as test image, and its report."""
    report = ppn2v.export_bioimage_model(
        denoiser,
        tmp_path / "cells.zip",
        image=image(150, 130),
        authors=["Ada Lovelace; Analytical Engines; 0000-0002-1825-0097"],
        posterior_std=True,
    )
    return report


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_package_says_what_every_program_needs(package):
    plain = read_description(package.path)
    assert plain["format_version"].startswith("0.5.")
    assert [author["name"] for author in plain["authors"]] == ["Ada Lovelace"]
    assert {entry["doi"] for entry in plain["cite"]} == {
        "10.1109/ISBI45749.2020.9098612",
        "10.1109/CVPR.2019.00223",
    }
    (taken,) = plain["inputs"]
    assert [axis["type"] for axis in taken["axes"]] == [
        "batch",
        "channel",
        *["space"] * 2,
    ]
    assert "preprocessing" not in taken
    side = taken["axes"][2]["size"]
    halo = plain["outputs"][0]["axes"][2]["halo"]
    assert side["min"] % side["step"] == 0
    assert side["min"] > 2 * halo
    assert [item["id"] for item in plain["outputs"]] == ["estimate", "posterior_std"]


def test_every_file_has_the_checksum_that_the_description_states(package):
    files = contents(package.path)
    stated = {}

    def collect_sources(plain):
        if isinstance(plain, dict):
            if "sha256" in plain:
                stated[plain["source"]] = plain["sha256"]
            for value in plain.values():
                collect_sources(value)
        elif isinstance(plain, list):
            for value in plain:
                collect_sources(value)

    collect_sources(yaml.safe_load(files["rdf.yaml"]))
    assert set(stated) == set(files) - {"rdf.yaml"}
    for name, digest in stated.items():
        assert hashlib.sha256(files[name]).hexdigest() == digest


def test_weights_in_the_package_turn_its_test_input_into_its_test_outputs(package):
    files = contents(package.path)
    arrays = {
        name: np.load(io.BytesIO(files[f"{name}.npy"]))
        for name in ("observation", "estimate", "posterior_std")
    }
    found = run_saved_module(files["weights.pt"], arrays["observation"], with_std=True)
    for name, array in found.items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-5)
    assert arrays["observation"].shape == (1, 1, 150, 130)


def test_the_report_states_how_near_it_is(package):
    assert 0 <= package.difference < TOLERANCE
    assert package.residual > 1
    text = contents(package.path)["README.md"].decode()
    assert "# Validation" in text
    assert f"{package.difference:.2g} grey values" in text


def test_the_noise_model_is_attached_and_tells_nothing_of_the_data(
    package, denoiser, tmp_path
):
    path = tmp_path / "noise_model.npz"
    path.write_bytes(contents(package.path)["noise_model.npz"])
    x, s = torch.tensor([[150.0]]), torch.linspace(120, 290, 20)[None]
    torch.testing.assert_close(
        load_noise_model(path).log_likelihood(x, s),
        denoiser.noise_model.log_likelihood(x, s),
    )


def test_training_data_are_not_given_away(denoiser, tmp_path):
    secret = replace(denoiser, provenance={"data": [{"file": "patient-7.tif"}]})
    report = ppn2v.export_bioimage_model(secret, tmp_path / "a.zip")
    for content in contents(report.path).values():
        assert b"patient-7" not in content


def test_the_cover_shows_before_and_after_and_is_light(package):
    from matplotlib.image import imread

    content = contents(package.path)["cover.png"]
    picture = imread(io.BytesIO(content))
    height, width = picture.shape
    assert width == 2 * height
    assert len(content) < 500_000
    files = contents(package.path)
    seen, estimate = (
        np.load(io.BytesIO(files[f"{name}.npy"]))[0, 0]
        for name in ("observation", "estimate")
    )
    low, high = np.quantile(estimate, [0.002, 0.998])
    for part, image in zip(np.hsplit(picture, 2), (seen, estimate), strict=True):
        wanted = ((image - low) / (high - low)).clip(0, 1)[:130, :130]
        np.testing.assert_allclose(part, wanted, atol=1 / 255)


def test_without_an_image_one_is_simulated_and_said_so(denoiser, tmp_path):
    job = export_denoiser(
        denoiser, tmp_path / "a.zip", ModelCard(name="Cells of mine"), StopToken()
    )
    events, report = collect(job)
    warnings = [e.message for e in events if isinstance(e, Notice) and e.is_warning]
    assert any("simulated" in text for text in warnings)
    assert any("Author not named" in text for text in warnings)
    assert "simulated" in contents(report.path)["README.md"].decode()


def test_a_small_image_is_mirrored_to_the_smallest_size(denoiser, tmp_path):
    report = ppn2v.export_bioimage_model(
        denoiser, tmp_path / "a.zip", image=image(40, 40)
    )
    seen = np.load(io.BytesIO(contents(report.path)["observation.npy"]))
    side = smallest_side(denoiser.network.stride, denoiser.network.halo)
    assert seen.shape == (1, 1, side, side)
    np.testing.assert_array_equal(seen[0, 0, :40, :40], image(40, 40))


def test_a_stop_writes_nothing(denoiser, tmp_path):
    stop = StopToken()
    stop.stop()
    report = ppn2v.export_bioimage_model(denoiser, tmp_path / "a.zip", stop=stop)
    assert report.is_stopped
    assert not list(tmp_path.iterdir())


def test_a_stop_is_seen_in_the_middle_of_the_comparison(denoiser, tmp_path):
    deep = PriorNetwork(UNetConfig(n_filters=16), "free", 8, Normalisation(190, 50))
    hidden = Blindness(4, "mean")
    blind = replace(
        denoiser, model=deep.eval(), is_blind=True, training_blindness=hidden
    )
    stop, seen = StopToken(), []

    def watch(event):
        seen.append(event)
        if isinstance(event, StepDone) and RUN < event.step < COMPARED:
            stop.stop()

    job = export_denoiser(
        blind, tmp_path / "a.zip", ModelCard(name="Cells of mine"), stop
    )
    assert drain(job, watch).is_stopped
    assert stop.is_stopped
    assert seen[-1].step < COMPARED
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["blind", "eight orientations", "800 samples"])
def test_slow_estimates_are_tested_on_a_small_image(denoiser, tmp_path, what):
    """So that an export takes seconds and ends soon where it is stopped."""
    slow = {
        "blind": replace(denoiser, is_blind=True),
        "eight orientations": replace(denoiser, averages_orientations=True),
        "800 samples": replace(denoiser, model=network("free", 800)),
    }[what]
    shapes = []
    for each in (denoiser, slow):
        path = ppn2v.export_bioimage_model(each, tmp_path / "a.zip", overwrite=True)
        seen = np.load(io.BytesIO(contents(path.path)["observation.npy"]))
        shapes.append(seen.shape[2:])
    smallest = smallest_side(denoiser.network.stride, denoiser.network.halo)
    assert shapes == [(256, 256), (smallest, smallest)]


def test_a_folder_that_is_not_there_is_said_before_anything_is_computed(
    denoiser, tmp_path
):
    out, card = tmp_path / "nowhere" / "a.zip", ModelCard(name="Cells of mine")
    with pytest.raises(CannotWrite, match="no folder"):
        next(export_denoiser(denoiser, out, card, StopToken()))


def test_a_failure_leaves_an_older_package_as_it_was(package, denoiser):
    before = package.path.read_bytes()
    blank = np.full((150, 130), np.nan, np.float32)
    with pytest.raises(BadData, match="not a number"):
        drain(
            export_denoiser(
                denoiser,
                package.path,
                ModelCard(name="Cells of mine"),
                StopToken(),
                frames=as_frames(blank),
            )
        )
    assert package.path.read_bytes() == before
    assert [p.name for p in package.path.parent.iterdir()] == [package.path.name]


def test_what_cannot_work_elsewhere_is_refused(denoiser, tmp_path):
    known = {"common_offset": 100.0, "common_gain": 2.0, "name": "maps.tif"}
    mapped = replace(denoiser, provenance={"camera_maps": known})
    with pytest.raises(BadSetting, match="camera maps"):
        ppn2v.export_bioimage_model(mapped, tmp_path / "a.zip")
    plain = Denoiser(network("free", 1), None, None, "prior-mean", False)
    with pytest.raises(BadSetting, match="posterior standard deviation"):
        ppn2v.export_bioimage_model(plain, tmp_path / "a.zip", posterior_std=True)
    assert not list(tmp_path.iterdir())


def test_names_that_are_no_package_or_taken_are_refused(denoiser, package, tmp_path):
    with pytest.raises(BadSetting, match=r"\.zip"):
        ppn2v.export_bioimage_model(denoiser, tmp_path / "a.ppn2v")
    with pytest.raises(BadSetting, match="there already"):
        ppn2v.export_bioimage_model(denoiser, package.path)
    with pytest.raises(CannotWrite, match="no folder"):
        ppn2v.export_bioimage_model(denoiser, tmp_path / "nowhere" / "a.zip")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("name", "PPN", "3 characters"),
        ("name", "Zellkerne: grün", "without accents"),
        ("licence", "do what you want", "SPDX"),
        ("authors", ["; Somewhere"], "no name"),
        ("authors", ["Ada; 0000-0002-1825-0098"], "mistyped"),
        ("description", "x" * 1025, "1025 characters"),
    ],
)
def test_what_the_zoo_would_refuse_is_refused_first(
    denoiser, tmp_path, field, value, words
):
    with pytest.raises(BadSetting, match=words):
        ppn2v.export_bioimage_model(denoiser, tmp_path / "a.zip", **{field: value})
    assert not list(tmp_path.iterdir())


def test_authors_are_read_in_any_order():
    text = "Ada Lovelace; @ada; 0000-0002-1694-233X; Analytical Engines"
    found = Author("Ada Lovelace", "Analytical Engines", "0000-0002-1694-233X", "ada")
    assert Author.parse(text) == found


@pytest.mark.parametrize("stem", ["cells", "Zellkerne: grün, 100 ms", "x" * 200, ""])
def test_a_name_made_of_a_file_is_one_that_the_zoo_takes(stem):
    assert ModelCard(name=name_from(stem)).name


# -- in the hands of users -----------------------------------------------------------


@pytest.fixture
def run():
    from typer.testing import CliRunner

    from napari_ppn2v.cli.app import app

    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_line_exports_and_tells_what_it_wrote(run, denoiser, tmp_path):
    model = save_model(tmp_path / "cells.ppn2v", denoiser)
    np.save(tmp_path / "noisy.npy", image(150, 130)[None])
    out = tmp_path / "cells.zip"
    command = ("export", model, "-o", out, "--image", tmp_path / "noisy.npy")
    done = run(*command, "--axes", "TYX", "--author", "Ada", "--tag", "sCMOS")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(out)
    assert "sCMOS" in read_description(out)["tags"]
    told = run("info", out)
    assert told.exit_code == 0, told.output
    assert "PPN2V denoising cells" in told.stdout
    assert "noise_model: gmm" in told.stdout
    again = run(*command)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_applying_a_package_says_what_to_take_instead(run, package, tmp_path):
    assert is_bioimage_model(package.path)
    with pytest.raises(BadFile, match=r"BioImage Model Zoo.*\.ppn2v"):
        load_model(package.path)
    np.save(tmp_path / "noisy.npy", image()[None])
    done = run("apply", package.path, tmp_path / "noisy.npy", "-o", tmp_path / "o.tif")
    assert done.exit_code == 2
    assert "made for other programs" in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x05\x06" + bytes(18)], ids=["empty", "text", "zip"]
)
def test_foreign_files_are_no_packages(tmp_path, content):
    path = tmp_path / "foreign.zip"
    path.write_bytes(content)
    assert not is_bioimage_model(path)
    with pytest.raises(BadFile, match=r"foreign\.zip"):
        read_description(path)


# -- in the hands of bioimageio.core -------------------------------------------------

CHECK = """
import json, sys
import numpy as np
from bioimageio.core import create_prediction_pipeline, test_model
from bioimageio.core.digest_spec import create_sample_for_model
from bioimageio.spec import load_model_description

tested = {}
for path in json.loads(sys.argv[1]):
    summary = test_model(path)
    tested[path] = {"status": summary.status, "errors": [
        error.msg for detail in summary.details for error in detail.errors]}
    if summary.status != "passed":
        continue
    model = load_model_description(path)
    pipeline = create_prediction_pipeline(model)
    observation = np.load(path.replace(".zip", ".npy"))[None, None]
    sample = create_sample_for_model(model, inputs={"observation": observation})
    whole = pipeline.predict_sample_without_blocking(
        sample, skip_input_padding=True, skip_output_cropping=True)
    tiled = pipeline.predict_sample_with_blocking(sample, ns=4)
    for name, found in (("whole", whole), ("tiled", tiled)):
        arrays = {str(k): v.data.values[0, 0] for k, v in found.members.items()}
        np.savez(path.replace(".zip", f".{name}.npz"), **arrays)
print(json.dumps(tested))
"""


def bioimageio_python() -> str:
    """Python with bioimageio.core: this one, or the one that the environment names."""
    for python in (os.environ.get("PPN2V_BIOIMAGEIO_PYTHON"), sys.executable):
        command = [python or "", "-c", "import bioimageio.core, torch"]
        if python and not subprocess.run(command, capture_output=True).returncode:
            return python
    pytest.skip("needs bioimageio.core, here or in PPN2V_BIOIMAGEIO_PYTHON")


@pytest.mark.slow
def test_bioimageio_core_accepts_the_packages_and_gives_our_pixels(
    denoiser, noise_models, tmp_path, record_property
):
    python = bioimageio_python()
    hidden = Blindness(3, "random")
    n2v = Denoiser(network("free", 1), None, Blindness(4, "mean"), "prior-mean", False)
    cases = {
        **{k: replace(denoiser, noise_model=m) for k, m in noise_models.items()},
        "800": replace(denoiser, model=network("free", 800)),
        "blind": replace(denoiser, is_blind=True),
        "random": replace(denoiser, is_blind=True, training_blindness=hidden),
        "refined": replace(denoiser, estimate="refined"),
        "mean": replace(denoiser, estimate="prior-mean"),
        "eight": replace(denoiser, averages_orientations=True),
        "n2v": n2v,
        "n2v blind": replace(n2v, is_blind=True),
        "care": replace(n2v, training_blindness=None, target="clean"),
    }
    observation = image(200, 232)
    paths = {}
    for name, case in cases.items():
        paths[name] = tmp_path / f"{name}.zip"
        np.save(paths[name].with_suffix(".npy"), observation)
        ppn2v.export_bioimage_model(
            case,
            paths[name],
            image=observation,
            authors=["Ada Lovelace"],
            posterior_std=case.gives_posterior_std,
        )
    script = tmp_path / "check.py"
    script.write_text(CHECK)
    environment = os.environ | {"BIOIMAGEIO_CACHE_PATH": str(tmp_path / "cache")}
    answer = subprocess.run(
        [python, str(script), json.dumps([str(p) for p in paths.values()])],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    tested = json.loads(answer.stdout.splitlines()[-1])
    for name, case in cases.items():
        told = tested[str(paths[name])]
        assert told["status"] == "passed", (name, told["errors"])
        own = case.estimate_image(observation)
        whole = np.load(str(paths[name]).replace(".zip", ".whole.npz"))
        difference = np.abs(whole["estimate"] - case.result(own)).max()
        record_property(f"largest difference, {name}", float(difference))
        assert difference < (0.15 if name == "800" else TOLERANCE), name
        if case.gives_posterior_std:
            off = np.abs(whole["posterior_std"] - own.posterior_std).max()
            assert off < (0.15 if name == "800" else TOLERANCE), name
        if name in ("eight", "random"):
            continue  # these depend on where a tile begins
        tiled = np.load(str(paths[name]).replace(".zip", ".tiled.npz"))
        halo = case.network.halo
        inner = (slice(halo, -halo), slice(halo, -halo))
        np.testing.assert_allclose(
            tiled["estimate"][inner], whole["estimate"][inner], atol=0.15, err_msg=name
        )
