"""The U-Net of both papers, as a network that gives features for each pixel."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """Shape of a `UNet`."""

    n_levels: int = setting(
        3,
        label="Resolution levels",
        help="Number of resolutions the network sees. 3 means two poolings: "
        "'depth 3' in PPN2V and 'depth 2' in Noise2Void.",
        minimum=1,
        maximum=6,
    )
    n_filters: int = setting(
        16,
        label="Filters",
        help="Feature channels of the first level; doubled at each level below.",
        minimum=2,
        maximum=256,
    )
    kernel_size: int = setting(
        3, label="Kernel size", unit="pixels", help="Side of each filter.", minimum=1
    )
    batch_norm: bool = setting(
        False,
        label="Batch normalisation",
        help="After every convolution, as in Noise2Void; PPN2V has none.",
    )
    merge: str = setting(
        "add",
        label="Skip connections",
        help="How the features of the way down join those of the way up: "
        "added (PPN2V) or concatenated (Noise2Void).",
        choices=("add", "concatenate"),
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if self.kernel_size % 2 == 0:
            raise BadSetting(
                f"'Kernel size' is {self.kernel_size}. It must be odd: 3, 5 or 7."
            )

    @property
    def stride(self) -> int:
        """Y and X of the network's input must be multiples of this."""
        return int(2 ** (self.n_levels - 1))


class UNet(nn.Module):
    """A fully convolutional U-Net, (B, 1, Y, X) -> (B, C, Y, X) features.

    Two convolutions with ReLU per level on the way down and on the way up, max
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
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
