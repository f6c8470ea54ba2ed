"""The last stage of a journey: which estimate is used."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.events import Notice, StageStarted
from napari_ppn2v.pipeline.inference_choice import choose_inference
from napari_ppn2v.pipeline.stages import Journey, finished

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.noise_models.base import NoiseModel
    from napari_ppn2v.core.prior_network import PriorNetwork
    from napari_ppn2v.events import Event


def choose_estimate(
    run: Journey,
    model: PriorNetwork,
    refined: PriorNetwork | None,
    noise_model: NoiseModel,
) -> Generator[Event, None, Denoiser]:
    """Make the denoiser, with the estimate of lowest expected error."""
    options = _options(run, model, refined)
    estimate, is_blind = options[0]
    denoiser = Denoiser(
        model,
        noise_model,
        run.blindness,
        estimate,
        is_blind,
        "as asked for",
        provenance=run.provenance(),
        refined=refined,
    )
    is_settled = len(options) == 1
    wants_std = run.config.inference.posterior_std and denoiser.gives_posterior_std
    if run.stop.is_stopped or (is_settled and not wants_std):
        return denoiser
    began = time.perf_counter()
    yield StageStarted("inference choice", 0)
    choice = yield from choose_inference(
        denoiser, run.stack.images, options, seed=run.config.seed, stop=run.stop
    )
    if choice is not None and not is_settled:
        yield Notice(f"Estimate used: {choice.reason}.")
    yield finished(run, "inference choice", began)
    if choice is None:
        return replace(denoiser, reason="stopped before estimates were compared")
    return replace(
        denoiser,
        estimate=choice.estimate,
        is_blind=choice.is_blind,
        reason=denoiser.reason if is_settled else choice.reason,
        std_calibration=choice.std_calibration,
    )


def _options(
    run: Journey, model: PriorNetwork, refined: PriorNetwork | None
) -> list[tuple[str, bool]]:
    """List what may be chosen, the one to use without comparison first.

    After training with mean replacement the network makes good use of the pixel it
    predicts, so that MMSE in one pass counts the observation twice: measured up to
    0.6 dB below the prior mean of the same pass. It is then offered blind only.
    """
    wanted = run.config.inference
    passes = {"auto": [False, True], "no": [False], "yes": [True]}[wanted.blind]
    options = []
    if refined is not None and wanted.estimate in ("auto", "refined"):
        options.append(("refined", False))
    counts_twice = run.blindness.replacement == "mean" and wanted.blind == "auto"
    if model.n_samples > 1 and wanted.estimate in ("auto", "mmse"):
        options += [("mmse", b) for b in passes if b or not counts_twice]
    has_std = model.n_samples > 1 or not wanted.posterior_std
    if has_std and wanted.estimate in ("auto", "prior-mean"):
        # nor is a blind prior mean worth its passes: measured 0.1 to 0.6 dB below
        few = passes[:1] if counts_twice else passes
        options += [("prior-mean", b) for b in few]
    if not options and run.stop.is_stopped:
        return [("prior-mean", False)]  # what was asked for is not there yet
    if not options:
        raise BadSetting(
            f"The estimate '{wanted.estimate}' cannot be had with method "
            f"'{run.config.method}' and these settings. Choose 'auto'."
        )
    return options
