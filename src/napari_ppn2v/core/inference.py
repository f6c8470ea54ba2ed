"""Denoising one tile: prior mean, MMSE and uncertainty, in one pass or blind."""

from __future__ import annotations

import logging
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.blindspot import (
    RANDOM_RADIUS,
    lattice_mask,
    position_lottery,
    replace_by_lottery,
    replace_by_mean,
)
from napari_ppn2v.core.many_samples import LikelihoodRows
from napari_ppn2v.core.memory import release_memory
from napari_ppn2v.core.posterior import (
    Estimate,
    posterior_estimate,
    prior_mean,
    prior_std,
)
from napari_ppn2v.core.prior_network import PriorNetwork, pixels
from napari_ppn2v.core.tile_size import TileSize, cut_tiles
from napari_ppn2v.core.tiling import Span, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_ppn2v.core.noise_models.base import NoiseModel

# Values of the first level's features in one pass, and samples whose likelihoods are
# held at once. On a CPU they should stay in its cache (measured: with 2**24 values,
# blind inference takes 1.4 times as long); other devices need more to be kept busy.
VALUES_PER_PASS = {"cpu": 2**21}
SAMPLES_PER_CHUNK = {"cpu": 2**17}
VALUES_ELSEWHERE, SAMPLES_ELSEWHERE = 2**24, 2**22
FEWEST_SAMPLES = 2**12  # less would save kilobytes and take long

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Blindness:
    """How a network is kept from seeing the pixel it predicts.

    One pixel per `box` x `box` pixels is replaced in each of the box² passes, as it
    was in training, and only these pixels are kept from that pass.
    """

    box: int
    replacement: str


@dataclass(frozen=True, slots=True)
class RegionEstimate:
    """Estimates for one region, all (Y, X) float32 in ADU.

    Without a noise model, `mmse` is None and `posterior_std` is that of the prior,
    None for a prior of one sample.
    """

    prior_mean: NDArray[np.float32]
    mmse: NDArray[np.float32] | None
    posterior_std: NDArray[np.float32] | None

    @property
    def parts(self) -> tuple[NDArray[np.float32] | None, ...]:
        """All three."""
        return self.prior_mean, self.mmse, self.posterior_std


Passes = Generator[float, None, RegionEstimate]
"""An estimate that pauses after each pass, telling the part that is done."""


def estimate_image(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    image: NDArray[np.float32],
    blindness: Blindness | None,
    tile_size: int = 256,
) -> RegionEstimate:
    """Denoise a whole image in memory, tile by tile.

    Parameters
    ----------
    noise_model : for the MMSE estimate; `LikelihoodRows` of it for many samples
    image : (Y, X), ADU
    blindness : None for one pass in which the network sees every pixel
    """
    return drained(image_passes(model, noise_model, image, blindness, tile_size))


def image_passes(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    image: NDArray[np.float32],
    blindness: Blindness | None,
    tile_size: int = 256,
) -> Passes:
    """Do as `estimate_image`, and pause after every pass of the network.

    Yields
    ------
    float  The part of the work that is done, up to 1.
    """
    network, result = model.network, None
    size, done = TileSize(tile_size), 0
    todo = list(tiles(image.shape, tile_size, network.halo, network.stride))
    while todo:
        rows, columns = todo[0]
        passes = tile_passes(
            model,
            noise_model,
            image[rows.read, columns.read],
            rows,
            columns,
            blindness,
            share=size.share,
        )
        try:
            block = yield from _as_part(passes, done, done + len(todo))
        except (RuntimeError, MemoryError) as error:
            size = size.smaller(error)
            todo = list(cut_tiles(todo, size.side, image.shape, network))
        else:
            result = _placed(result, block, image.shape, rows, columns)
            todo, done = todo[1:], done + 1
            continue
        logger.warning(str(size))
        release_memory()
    assert result is not None
    return result


def _placed(
    whole: RegionEstimate | None,
    block: RegionEstimate,
    shape: tuple[int, int],
    rows: Span,
    columns: Span,
) -> RegionEstimate:
    """Put the estimate of a tile into that of the whole image, made for the first."""
    if whole is None:
        empty = [
            None if part is None else np.empty(shape, np.float32)
            for part in block.parts
        ]
        whole = RegionEstimate(*empty)  # type: ignore[arg-type]
    for image, part in zip(whole.parts, block.parts, strict=True):
        if image is not None and part is not None:
            image[rows.keep, columns.keep] = part
    return whole


def _as_part(passes: Passes, number: int, total: int) -> Passes:
    """Count the passes of one tile among `total` tiles."""
    while True:
        try:
            done = next(passes)
        except StopIteration as end:
            return end.value
        yield (number + done) / total


def drained(passes: Passes) -> RegionEstimate:
    """Do all passes and return the estimate."""
    while True:
        try:
            next(passes)
        except StopIteration as end:
            return end.value


def estimate_tiles(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    image: NDArray[np.float32],
    blindness: Blindness | None,
    tile_size: int,
) -> Iterator[tuple[Span, Span, RegionEstimate]]:
    """Yield (rows, columns, estimate of what is kept) for each tile of an image."""
    network = model.network
    for rows, columns in tiles(image.shape, tile_size, network.halo, network.stride):
        observation = image[rows.read, columns.read]
        yield (
            rows,
            columns,
            estimate_tile(model, noise_model, observation, rows, columns, blindness),
        )


def estimate_tile(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
    blindness: Blindness | None,
) -> RegionEstimate:
    """Denoise one tile and return what is kept of it.

    Parameters
    ----------
    observation : (Y, X), ADU
        The pixels that `rows` and `columns` read, halo included.
    """
    return drained(
        tile_passes(model, noise_model, observation, rows, columns, blindness)
    )


def tile_passes(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
    blindness: Blindness | None,
    *,
    share: float = 1.0,
) -> Passes:
    """Do as `estimate_tile`, and pause after every pass of the network.

    Parameters
    ----------
    share : see `TileSize`; changes no estimate

    Yields
    ------
    float  The part of the work that is done, up to 1.
    """
    if blindness is not None:
        return (
            yield from _blind(
                model, noise_model, observation, rows, columns, blindness, share
            )
        )
    with torch.inference_mode():
        estimate = _in_one_pass(model, noise_model, observation, rows, columns, share)
    yield 1.0
    return estimate


def _in_one_pass(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
    share: float,
) -> RegionEstimate:
    features = _features(model, observation[None])
    kept = features[:, :, rows.inner, columns.inner]
    seen = observation[rows.inner, columns.inner]
    estimate = _estimate_pixels(
        model, noise_model, pixels(kept), seen.reshape(-1), share
    )
    return RegionEstimate(
        *(None if part is None else part.reshape(seen.shape) for part in estimate)  # type: ignore[arg-type]
    )


def _blind(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
    blindness: Blindness,
    share: float,
) -> Passes:
    box, stride = blindness.box, model.network.stride
    shape = (
        rows.inner.stop - rows.inner.start,
        columns.inner.stop - columns.inner.start,
    )
    parts: list[NDArray[np.float32]] = [np.empty(shape, np.float32) for _ in range(3)]
    phases = [(py, px) for py in range(box) for px in range(box)]
    size = math.prod(-(-length // stride) * stride for length in observation.shape)
    most = VALUES_PER_PASS.get(model.device.type, VALUES_ELSEWHERE)
    at_once = max(1, int(most * share) // (size * model.network.n_features))
    for first in range(0, len(phases), at_once):
        some = phases[first : first + at_once]
        # a mode left open at a yield would hold for whoever asks for the next pass
        with torch.inference_mode():
            _blind_pass(
                model,
                noise_model,
                observation,
                rows,
                columns,
                blindness,
                some,
                parts,
                share,
            )
        yield min(1.0, (first + at_once) / len(phases))
    has_std = noise_model is not None or model.n_samples > 1
    return RegionEstimate(
        parts[0],
        None if noise_model is None else parts[1],
        parts[2] if has_std else None,
    )


def _blind_pass(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    observation: NDArray[np.float32],
    rows: Span,
    columns: Span,
    blindness: Blindness,
    phases: list[tuple[int, int]],
    parts: list[NDArray[np.float32]],
    share: float,
) -> None:
    """Hide each of some lattices and put the estimates of its pixels into `parts`."""
    box = blindness.box
    masked = [
        _hide(observation, rows.start, columns.start, phase, blindness)
        for phase in phases
    ]
    features = _features(model, np.stack(masked))
    for number, (py, px) in enumerate(phases):
        y = slice((py - rows.keep_start) % box, None, box)
        x = slice((px - columns.keep_start) % box, None, box)
        kept = features[number : number + 1, :, rows.inner, columns.inner]
        seen = observation[rows.inner, columns.inner][y, x]
        if not seen.size:
            continue  # a narrow tile can lack a phase
        estimate = _estimate_pixels(
            model, noise_model, pixels(kept[:, :, y, x]), seen.reshape(-1), share
        )
        for whole, part in zip(parts, estimate, strict=True):
            if part is not None:
                whole[y, x] = part.reshape(seen.shape)


def _hide(
    observation: NDArray[np.float32],
    top: int,
    left: int,
    phase: tuple[int, int],
    blindness: Blindness,
) -> NDArray[np.float32]:
    """Replace one lattice of pixels; places are those of the whole image."""
    box = blindness.box
    local = ((phase[0] - top) % box, (phase[1] - left) % box)
    mask = lattice_mask(observation.shape, box, local)[None]
    if blindness.replacement == "mean":
        return replace_by_mean(observation[None], mask)[0]
    _, y, x = np.nonzero(mask)
    lottery = position_lottery(y + top, x + left, (2 * RANDOM_RADIUS + 1) ** 2)
    return replace_by_lottery(observation[None], mask, lottery, RANDOM_RADIUS)[0]


def _features(model: PriorNetwork, observations: NDArray[np.float32]) -> Tensor:
    """Features (B, C, Y, X) of observations (B, Y, X), padded where needed."""
    _, height, width = observations.shape
    stride, normal = model.network.stride, model.normalisation
    padded = np.pad(
        observations, ((0, 0), (0, -height % stride), (0, -width % stride)), mode="edge"
    )
    inputs = (padded - np.float32(normal.mean)) / np.float32(normal.std)
    features = model.features(torch.from_numpy(inputs)[:, None])
    return features[:, :, :height, :width]


def _estimate_pixels(
    model: PriorNetwork,
    noise_model: NoiseModel | LikelihoodRows | None,
    features: Tensor,
    observation: NDArray[np.float32],
    share: float,
) -> list[NDArray[np.float32] | None]:
    """Prior mean, MMSE and posterior standard deviation, (P,) each, in chunks."""
    seen = torch.from_numpy(observation).to(features.device)
    most = SAMPLES_PER_CHUNK.get(model.device.type, SAMPLES_ELSEWHERE)
    size = max(1, max(FEWEST_SAMPLES, int(most * share)) // model.n_samples)
    chunks: list[tuple[Tensor, ...]] = []
    for first in range(0, len(seen), size):
        some, x = features[first : first + size], seen[first : first + size]
        samples, log_weights = model.samples(some)
        if noise_model is None:
            mean = prior_mean(samples, log_weights)
            chunks.append((mean, prior_std(samples, log_weights, mean)))
        else:
            chunks.append(_posterior(samples, log_weights, x, noise_model))
    joined = [torch.cat(part).cpu().numpy() for part in zip(*chunks, strict=True)]
    if noise_model is not None:
        return list(joined)
    return [joined[0], None, joined[1] if model.n_samples > 1 else None]


def _posterior(
    samples: Tensor,
    log_weights: Tensor,
    observation: Tensor,
    noise_model: NoiseModel | LikelihoodRows,
) -> Estimate:
    if isinstance(noise_model, LikelihoodRows):
        return noise_model.posterior(samples, observation)
    return posterior_estimate(samples, log_weights, observation, noise_model)
