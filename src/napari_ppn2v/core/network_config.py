"""Settings of the networks, readable without loading torch (forms show them)."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ppn2v.errors import BadSetting
from napari_ppn2v.settings import check_settings, setting


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
    activation: str = setting(
        "leaky",
        label="Activation",
        help="What a layer makes of values below zero: a tenth of them ('leaky'), or "
        "nothing ('relu', as published), so that the darkest regions may all come out "
        "at one and the same value.",
        choices=("leaky", "relu"),
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
