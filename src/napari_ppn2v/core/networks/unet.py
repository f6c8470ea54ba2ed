"""The U-Net of both papers, as a network that gives features for each pixel."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_ppn2v.core.network_config import UNetConfig

LEAK = 0.1
"""Slope of the leaky activation below zero."""


class UNet(nn.Module):
    """A fully convolutional U-Net, (B, 1, Y, X) -> (B, C, Y, X) features.

    Two convolutions with activation per level on the way down and on the way up, max
    pooling, transposed convolutions, zero padding (Prakash et al. 2020, section 3;
    Krull et al. 2019, section 4). The last linear layer of the papers is not here:
    it belongs to the prior, so that only the pixels that matter pass through it.

    Attributes
    ----------
    stride
        Y and X of the input must be multiples of it.
    halo
        Pixels of context, a multiple of `stride`, beyond which the output at a
        pixel does not depend on the input. Drives the tiling.
    n_features
        Channels C of the output.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.n_filters * 2**level for level in range(config.n_levels)]
        self.down = nn.ModuleList(
            _two_convolutions(before, after, config)
            for before, after in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.rise = nn.ModuleList(
            nn.ConvTranspose2d(below, here, 2, stride=2)
            for here, below in _neighbours(widths)
        )
        wider = 2 if config.merge == "concatenate" else 1
        self.up = nn.ModuleList(
            _two_convolutions(wider * here, here, config)
            for here, _ in _neighbours(widths)
        )
        self.n_features = config.n_filters

    @property
    def stride(self) -> int:
        """Y and X of the input must be multiples of this."""
        return self.config.stride

    @property
    def halo(self) -> int:
        """Reach of the input on the output in pixels, a multiple of the stride."""
        radius, stride = self.config.kernel_size // 2, self.stride
        # four convolutions at each level but the lowest, two there, and poolings,
        # which can look one cell of the level below further
        reach = 4 * radius * (stride - 1) + 2 * radius * stride + stride - 1
        return -(-reach // stride) * stride

    def forward(self, image: Tensor) -> Tensor:
        """Return the features (B, C, Y, X) of normalised images (B, 1, Y, X)."""
        kept: list[Tensor] = []
        features = image
        for level, block in enumerate(self.down):
            if level:
                features = nn.functional.max_pool2d(features, 2)
            features = block(features)
            kept.append(features)
        kept.pop()
        for rise, block in zip(self.rise, self.up, strict=True):
            risen, skipped = rise(features), kept.pop()
            joined = (
                torch.cat([risen, skipped], dim=1)
                if self.config.merge == "concatenate"
                else risen + skipped
            )
            features = block(joined)
        return features


def _neighbours(widths: list[int]) -> Iterable[tuple[int, int]]:
    """Pairs (width of a level, width below it), from the lowest upwards."""
    return reversed(list(itertools.pairwise(widths)))


def _two_convolutions(before: int, after: int, config: UNetConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers.append(nn.Conv2d(channels, after, config.kernel_size, padding="same"))
        if config.batch_norm:
            layers.append(nn.BatchNorm2d(after))
        layers.append(_activation(config))
    return nn.Sequential(*layers)


def _activation(config: UNetConfig) -> nn.Module:
    """Return what follows each convolution, as published a ReLU.

    Where all features of a region are below zero, behind a ReLU nothing is left of it
    and nothing of it can be learnt any more. Of a photon-rich recording the darkest 5 %
    of all pixels came out at one value, up to 4 grey values too high.
    """
    if config.activation == "relu":
        return nn.ReLU(inplace=True)
    return nn.LeakyReLU(LEAK, inplace=True)
