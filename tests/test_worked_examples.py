"""What docs/architecture.md adds by way of example works, and its names exist."""

from __future__ import annotations

import ast
import json
import re
from functools import cache

import numpy as np
import pytest
import torch

import napari_ppn2v as ppn2v
from napari_ppn2v.core.networks import NETWORKS, kind_of
from napari_ppn2v.core.noise_models import NOISE_MODELS, NoiseModel
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.pipeline import data_check
from tests.documents import DOCS, ROOT, run_blocks, train_briefly, write_recording

PAGE = DOCS / "architecture.md"
SOURCE = ROOT / "src" / "napari_ppn2v"


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Names that the page leaves behind; what it registers is taken out again."""
    registries = [dict(NOISE_MODELS), dict(NETWORKS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("examples"))
        patch.setattr(data_check, "_ask_of_stack", data_check._ask_of_stack)
        train_briefly(patch)
        write_recording()
        yield run_blocks(PAGE, {})
    for registry, before in zip((NOISE_MODELS, NETWORKS), registries, strict=True):
        registry.clear()
        registry.update(before)


def test_the_noise_model_keeps_what_noise_models_promise(examples):
    model = examples["laplace"]
    assert isinstance(model, NoiseModel)
    signal = torch.tensor(sum(model.signal_range) / 2)
    x = torch.linspace(float(signal) - 500, float(signal) + 500, 200_001)
    density = model.log_likelihood(x, signal).double().exp()
    assert float(torch.trapezoid(density, x.double())) == pytest.approx(1, abs=1e-3)
    mean, variance = model.moments(signal)
    drawn = model.sample(signal.expand(200_000), torch.Generator().manual_seed(0))
    assert float(drawn.mean()) == pytest.approx(float(mean), abs=0.1)
    assert float(drawn.var()) == pytest.approx(float(variance), rel=0.02)


def test_the_noise_model_is_as_wide_as_the_noise_it_was_fitted_to(examples):
    cells = examples["cells"]
    distance = np.abs(cells.observation - cells.signal)
    assert examples["laplace"].width == pytest.approx(cells.mean_of(distance))


def test_a_model_trained_with_it_denoises_and_comes_back_from_its_file(examples):
    stack, result = examples["stack"], examples["result"]
    assert result.image.shape == stack.shape
    read = ppn2v.load_model("laplace.ppn2v")
    assert read.noise_model == examples["laplace"]
    again = ppn2v.apply(read, stack, axes="TYX", device="cpu", threads=1)
    np.testing.assert_array_equal(again.image, result.image)


def test_the_network_needs_no_more_context_than_its_halo(examples):
    config = examples["PlainConfig"](n_layers=3)
    network = NETWORKS["plain"][0](config).eval()
    image = torch.randn(1, 1, 32, 32)
    changed = image.clone()
    changed[..., 16, 16] += 10
    with torch.inference_mode():
        difference = (network(image) != network(changed)).any(1)[0].nonzero() - 16
    reach = int(difference.abs().max())
    assert network(image).shape == (1, network.n_features, 32, 32)
    assert 0 < reach <= network.halo


def test_the_network_is_trained_and_comes_back_from_its_file(examples):
    assert kind_of(examples["PlainConfig"]()) == "plain"
    network = ppn2v.load_model("plain.ppn2v").network
    assert type(network) is examples["PlainNetwork"]
    assert len(network.layers) == 6


def test_settings_that_belong_to_no_network_are_refused():
    with pytest.raises(BadSetting, match=r"TrainingConfig.*Known are UNetConfig"):
        kind_of(ppn2v.preset("fast").training)


def test_the_check_is_asked_and_tells_dark_frames_from_bright_ones(examples):
    bright = ppn2v.check_data(examples["stack"], axes="TYX").finding("light")
    dark = np.random.default_rng(0).poisson(1, examples["stack"].shape)
    found = ppn2v.check_data(dark.astype(np.uint16), axes="TYX").finding("light")
    assert bright.verdict == "fine"
    assert found.verdict == "careful"
    assert "lamp" in found.advice


# -- names ----------------------------------------------------------------------------


@cache
def files() -> tuple[str, ...]:
    folders = ("src", "tests", "docs", "benchmarks", "scripts")
    found = [path for name in folders for path in (ROOT / name).rglob("*")]
    return tuple(
        f"/{path.relative_to(ROOT).as_posix()}{'/' * path.is_dir()}" for path in found
    )


def named_paths() -> set[str]:
    """Everything on the page that is written like a file or a folder of ours."""
    text = PAGE.read_text(encoding="utf-8")
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    code += re.findall(r"```text\n(.*?)```", text, re.S)
    found = re.findall(r"(?<![\w.])((?:\w+/)*\w+\.(?:py|md)|(?:\w+/)+)", " ".join(code))
    return set(found)


def test_every_path_on_the_page_exists():
    paths = named_paths()
    assert {"core/frames.py", "pipeline/run_folder.py", "figures/"} <= paths
    missing = {p for p in paths if not any(f.endswith(f"/{p}") for f in files())}
    assert not missing


def test_every_package_is_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    packages = {path.parent for path in SOURCE.rglob("__init__.py")} - {SOURCE}
    unnamed = {
        path.relative_to(SOURCE).as_posix()
        for path in packages
        if not re.search(rf"\b{path.name}/", text)
    }
    assert not unnamed


def test_every_entry_of_a_model_file_is_in_the_page_on_formats(examples):
    text = (DOCS / "reference" / "file-formats.md").read_text(encoding="utf-8")
    with np.load("laplace.ppn2v", allow_pickle=False) as archive:
        header = json.loads(archive["header"].tobytes())
        groups = {name.split("/")[0] for name in archive if name != "header"}
    assert not [name for name in header if f"`{name}`" not in text]
    assert not [name for name in groups if f"`{name}/…`" not in text]
    assert header["provenance"]["signal_range"]


@cache
def defined_names() -> frozenset[str]:
    """Names of all classes, functions and constants of the package, and fields."""
    names: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return frozenset(names)


def test_every_type_and_function_of_the_key_types_exists():
    text = PAGE.read_text(encoding="utf-8")
    listed = text.split("## Key types")[1].split("```text\n")[1].split("```")[0]
    types = set(re.findall(r"\b[A-Z]\w*[a-z]\w*[A-Z]\w*\b", listed))
    calls = set(re.findall(r"\b([a-z_]+)\(", listed))
    others = {"AxisLayout", "SyntheticObservations", "as_frames", "train_denoiser"}
    assert others <= types | calls
    assert not (types | calls) - defined_names() - {"len", "Noise2Noise", "TorchScript"}
