"""The image that an exported model is tested on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_ppn2v.core.many_samples import WORTHWHILE_SAMPLES
from napari_ppn2v.core.scenes import filaments
from napari_ppn2v.core.tiling import middle
from napari_ppn2v.files.bioimage_model import smallest_side

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.core.frames import Frames

    Image = NDArray[np.float32]

TEST_SIDE = 256  # pixels, where the image is that large and the estimate quick


def test_image(denoiser: Denoiser, frames: Frames | None) -> Image:
    """Return an image (Y, X), ADU, of a size that every program takes.

    The middle of the first frame, mirrored where it is too small; without frames a
    simulated scene. Slow estimates get the smallest image there may be: a module runs
    without a pause, and nothing can stop it meanwhile. With 64 filters, 16 passes and
    800 samples per pixel 256 pixels took 26 s on one core, 112 take five.

    Raises
    ------
    BadData  If the frame is not finite.
    """
    network = denoiser.network
    smallest = smallest_side(network.stride, network.halo)
    is_slow = denoiser.n_passes > 1 or denoiser.n_samples >= WORTHWHILE_SAMPLES
    most = max(TEST_SIDE // network.stride * network.stride, smallest)
    if is_slow:
        most = smallest
    if frames is None:
        return _simulated(denoiser, most)
    regions = [middle(length, most) for length in frames.shape]
    image = frames.region(0, regions[0], regions[1]).astype(np.float32)
    missing = []
    for length in image.shape:
        wanted = max(smallest, length // network.stride * network.stride)
        missing.append((0, max(0, wanted - length)))
    padded = np.pad(image, missing, mode="symmetric")
    height, width = (n // network.stride * network.stride for n in padded.shape)
    return np.ascontiguousarray(padded[:height, :width])


def _simulated(denoiser: Denoiser, side: int) -> Image:
    """Filaments of the brightness of the training data, with the model's own noise."""
    normal, noise_model = denoiser.model.normalisation, denoiser.noise_model
    low, high = normal.mean - normal.std, normal.mean + 3 * normal.std
    if noise_model is not None:
        low = max(low, noise_model.signal_range[0])
        high = min(high, noise_model.signal_range[1])
        high = max(high, low + 1e-3 * normal.std)
    rng = np.random.default_rng(0)
    signal = (low + (high - low) * filaments((side, side), rng)).astype(np.float32)
    if noise_model is None:
        noisy = signal + rng.normal(0, 0.3 * normal.std, signal.shape)
    else:
        drawn = noise_model.sample(
            torch.from_numpy(signal), torch.Generator().manual_seed(0)
        )
        noisy = drawn.numpy()
    return np.asarray(noisy, np.float32)
