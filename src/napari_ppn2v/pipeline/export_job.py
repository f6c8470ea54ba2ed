"""Export of a trained model to the BioImage Model Zoo, as one job."""

from __future__ import annotations

import copy
import io
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_ppn2v import __version__
from napari_ppn2v.core.devices import threads
from napari_ppn2v.core.export.estimator import exported_estimator
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Notice, StageFinished, StageStarted, StepDone
from napari_ppn2v.files.atomic import check_target
from napari_ppn2v.files.bioimage_card import UNNAMED, ModelCard, name_from
from napari_ppn2v.files.bioimage_model import (
    ESTIMATE,
    PACKAGE_SUFFIX,
    POSTERIOR_STD,
    BioImageModel,
    save_bioimage_model,
)
from napari_ppn2v.files.bioimage_readme import Facts, cover_picture, readme
from napari_ppn2v.files.model_file import load_model
from napari_ppn2v.files.noise_model_files import save_noise_model
from napari_ppn2v.pipeline.apply_job import model_files
from napari_ppn2v.pipeline.apply_stacks_request import settled
from napari_ppn2v.pipeline.export_image import test_image
from napari_ppn2v.pipeline.export_request import check_can_leave
from napari_ppn2v.pipeline.inputs import open_noisy

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames
    from napari_ppn2v.events import Event
    from napari_ppn2v.pipeline.config import InferenceConfig
    from napari_ppn2v.pipeline.export_request import ExportModelRequest
    from napari_ppn2v.stop import StopToken

    Image = NDArray[np.float32]

STAGE = "export"
TEST_IMAGE, MODULE, RUN, COMPARED, N_STEPS = 5, 20, 55, 90, 100
"""Steps that are done when each part of an export is."""
NOISE_MODEL_NAME = "noise_model.npz"
WORTH_A_WARNING = 0.1  # difference over residual


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What is exported, and to where.

    Attributes
    ----------
    model : model file, or the folder of a run
    out : the package, a name in .zip
    inference : estimate, blindness, orientations and uncertainty; "auto" means what was
        chosen in training
    card : what others read of it; None makes a name of that of the file
    image : a recording like those it is for; a part of it becomes the test image
    axes, channel : of the image; the channel also chooses the model of a run's folder
    is_overwriting : whether an earlier package may be replaced
    """

    model: Path
    out: Path
    inference: InferenceConfig
    card: ModelCard | None = None
    image: Path | None = None
    axes: str | None = None
    channel: int | None = None
    is_overwriting: bool = False


@dataclass(frozen=True)
class ExportReport:
    """What was written.

    Attributes
    ----------
    path : of the package; None if stopped, nothing is written then
    difference : largest from the denoiser itself on the test image, ADU
    residual : root mean square of observation less estimate there, ADU
    """

    path: Path | None
    difference: float
    residual: float

    @property
    def is_stopped(self) -> bool:
        """Whether the user stopped before it was written."""
        return self.path is None


_STOPPED = ExportReport(None, 0.0, 0.0)


def export_file(
    request: ExportRequest, stop: StopToken
) -> Generator[Event, None, ExportReport]:
    """Export a model file; see `export_denoiser`.

    Raises
    ------
    PPN2VError  One of its kinds; an older package is then as it was before.
    """
    check_package_name(request.out, is_overwriting=request.is_overwriting)
    channel = request.channel or 0
    path = model_files(request.model, (channel,))[channel]
    denoiser = settled(load_model(path), request.inference)
    frames = None
    if request.image is not None:
        (opened,) = open_noisy((request.image,), request.axes, request.channel, "")
        frames = opened.frames[0]
    card = request.card or ModelCard(name=name_from(path.stem))
    with_std = request.inference.posterior_std
    return (
        yield from export_denoiser(
            denoiser, request.out, card, stop, frames=frames, with_std=with_std
        )
    )


def export_model(
    request: ExportModelRequest, out: Path, stop: StopToken
) -> Generator[Event, None, ExportReport]:
    """Export a model at hand, which stays as it is; see `export_denoiser`.

    A package of the same name is replaced; the caller asks before.

    Raises
    ------
    PPN2VError  One of its kinds; an older package is then as it was before.
    """
    check_package_name(out, is_overwriting=True)
    # a copy: it is moved to the processor, whatever others do with the model meanwhile
    denoiser = copy.deepcopy(request.denoiser())
    with threads(request.threads):
        return (
            yield from export_denoiser(
                denoiser,
                out,
                request.card,
                stop,
                frames=request.frames(),
                with_std=request.inference.posterior_std,
            )
        )


def check_package_name(out: Path, *, is_overwriting: bool) -> None:
    """Refuse names that are none of a package, or taken.

    Raises
    ------
    BadSetting
    """
    if out.suffix.lower() != PACKAGE_SUFFIX:
        raise BadSetting(
            f"A package of the BioImage Model Zoo is a {PACKAGE_SUFFIX} file, but the "
            f"output is named {out.name}. Name it for example "
            f"{out.with_suffix(PACKAGE_SUFFIX).name}."
        )
    if out.exists() and not is_overwriting:
        raise BadSetting(
            f"{out} is there already. Replace it with --overwrite, or choose another "
            "output."
        )


def export_denoiser(
    denoiser: Denoiser,
    out: Path,
    card: ModelCard,
    stop: StopToken,
    *,
    frames: Frames | None = None,
    with_std: bool = False,
) -> Generator[Event, None, ExportReport]:
    """Write a denoiser as a package that runs without napari-ppn2v.

    Normalisation, network, likelihood and sums become one TorchScript module. It is
    saved, loaded again, run on a test image, and compared with the denoiser.

    Parameters
    ----------
    frames
        Of a recording like those it is for; part of the first one becomes the test
        image and the picture. Without it a scene is simulated.
    with_std : whether the posterior standard deviation is a second output

    Returns
    -------
    ExportReport

    Raises
    ------
    BadSetting  If the model cannot run on raw images, or has no uncertainty.
    CannotWrite
        If the package cannot be written, at once where that can be told before.
    """
    began = time.perf_counter()
    check_can_leave(denoiser, with_std=with_std)
    check_target(out)
    denoiser = denoiser.to(torch.device("cpu"))
    yield StageStarted(STAGE, N_STEPS)
    yield from _say_what_is_missing(card, frames)
    observation = test_image(denoiser, frames)
    yield StepDone(STAGE, TEST_IMAGE, N_STEPS)
    if stop.is_stopped:
        return _STOPPED
    weights = saved_module(denoiser, with_std=with_std)
    yield StepDone(STAGE, MODULE, N_STEPS)
    if stop.is_stopped:
        return _STOPPED
    outputs = run_saved_module(weights, observation[None, None], with_std=with_std)
    yield StepDone(STAGE, RUN, N_STEPS)
    own = yield from _own_estimate(denoiser, observation, stop)
    if own is None:
        return _STOPPED
    estimate = outputs[ESTIMATE][0, 0]
    difference = float(np.abs(estimate - own).max())
    residual = float(np.sqrt(np.mean((observation - estimate) ** 2)))
    yield from _say_how_alike(difference, residual)
    if stop.is_stopped:
        return _STOPPED
    facts = _facts(denoiser, difference, residual, frames is None, with_std)
    save_bioimage_model(
        out,
        BioImageModel(
            card=card,
            weights=weights,
            torch_version=torch.__version__.partition("+")[0],
            stride=facts.stride,
            halo=facts.halo,
            test_input=observation[None, None],
            test_outputs=outputs,
            readme=readme(card, facts),
            cover=cover_picture(observation, estimate),
            attachments=_attachments(denoiser),
            facts=_plain(denoiser, facts),
        ),
    )
    yield StepDone(STAGE, N_STEPS, N_STEPS)
    yield StageFinished(STAGE, time.perf_counter() - began)
    return ExportReport(out, difference, residual)


def saved_module(denoiser: Denoiser, *, with_std: bool) -> bytes:
    """Return the TorchScript module of a denoiser as the content of a file."""
    module = exported_estimator(denoiser, with_std=with_std)
    content = io.BytesIO()
    with warnings.catch_warnings():  # torch announces the end of TorchScript
        warnings.simplefilter("ignore")
        torch.jit.save(module, content)
    return content.getvalue()


def run_saved_module(
    weights: bytes, observation: Image, *, with_std: bool
) -> dict[str, Image]:
    """Load a saved module and run it, as other programs will, (B, 1, Y, X)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(  # type: ignore[no-untyped-call]
            io.BytesIO(weights)
        )
    with torch.no_grad():
        found = module(torch.from_numpy(observation))
    names = (ESTIMATE, POSTERIOR_STD) if with_std else (ESTIMATE,)
    parts = found if with_std else (found,)
    return {name: part.numpy() for name, part in zip(names, parts, strict=True)}


def _own_estimate(
    denoiser: Denoiser, observation: Image, stop: StopToken
) -> Generator[Event, None, Image | None]:
    """Denoise the test image as napari-ppn2v does; None if stopped."""
    passes = denoiser.image_passes(observation)
    while not stop.is_stopped:
        try:
            share = next(passes)
        except StopIteration as end:
            return denoiser.result(end.value)
        yield StepDone(STAGE, round(RUN + share * (COMPARED - RUN)), N_STEPS)
    return None


def _say_what_is_missing(
    card: ModelCard, frames: Frames | None
) -> Generator[Event, None, None]:
    """Name the defaults that somebody should have chosen."""
    if any(author.name == UNNAMED for author in card.authors):
        yield Notice(
            f"No author was named: the package says '{UNNAMED}', and its "
            f"licence is {card.licence}.",
            is_warning=True,
        )
    if frames is None:
        yield Notice(
            "No image was given: the test image and the picture are "
            "simulated and show nothing of your sample.",
            is_warning=True,
        )


def _say_how_alike(difference: float, residual: float) -> Generator[Event, None, None]:
    text = (
        f"Largest difference from napari-ppn2v on the test image: {difference:.2g} "
        "grey values; observation and estimate differ by "
        f"{residual:.3g} (root mean square)."
    )
    is_large = difference > WORTH_A_WARNING * residual
    if is_large:
        text += (
            " The package computes in 32 bits; this computer denoises in 16 where it "
            "can, or looks likelihoods up."
        )
    yield Notice(text, is_warning=is_large)


def _attachments(denoiser: Denoiser) -> dict[str, bytes]:
    """Return the noise model as a file, without where it comes from."""
    if denoiser.noise_model is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = save_noise_model(Path(folder, NOISE_MODEL_NAME), denoiser.noise_model)
        return {NOISE_MODEL_NAME: path.read_bytes()}


def _facts(
    denoiser: Denoiser,
    difference: float,
    residual: float,
    is_simulated: bool,
    has_std: bool,
) -> Facts:
    network, noise_model = denoiser.network, denoiser.noise_model
    is_refined = denoiser.estimate == "refined"
    model = denoiser.refined if is_refined else denoiser.model
    assert model is not None
    return Facts(
        version=__version__,
        method=denoiser.method,
        estimate=denoiser.estimate,
        passes=denoiser.n_passes,
        noise_model="" if noise_model is None else noise_model.kind,
        signal_range=None if noise_model is None else noise_model.signal_range,
        mean=model.normalisation.mean,
        std=model.normalisation.std,
        stride=network.stride,
        halo=network.halo,
        difference=difference,
        residual=residual,
        is_simulated=is_simulated,
        has_std=has_std,
    )


def _plain(denoiser: Denoiser, facts: Facts) -> dict[str, Any]:
    """Return what `info` shows; nothing of the training data but its brightness."""
    noise_range = facts.signal_range
    return {
        "version": facts.version,
        "method": facts.method,
        "estimate": facts.estimate,
        "is_blind": denoiser.is_blind and facts.estimate != "refined",
        "passes": facts.passes,
        "noise_model": facts.noise_model,
        "signal_range": [] if noise_range is None else [float(v) for v in noise_range],
        "mean": float(facts.mean),
        "std": float(facts.std),
        "largest_difference": facts.difference,
        "test_image_is_simulated": facts.is_simulated,
    }
