"""Feature networks, by name.

A new network is one file and one line in `NETWORKS`: an `nn.Module` built from its
frozen config, (B, 1, Y, X) -> (B, n_features, Y, X), with `stride`, `halo` and
`n_features`. `RunConfig.network` chooses it, by the type of the config.
"""

from __future__ import annotations

from typing import Any

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.networks.unet import UNet
from napari_ppn2v.errors import BadSetting

NETWORKS: dict[str, tuple[Any, Any]] = {"unet": (UNet, UNetConfig)}


def kind_of(config: Any) -> str:
    """Return the name of the network that a config belongs to.

    Raises
    ------
    BadSetting  If no network has configs of this type.
    """
    for name, (_, config_type) in NETWORKS.items():
        if type(config) is config_type:
            return name
    known = ", ".join(config_type.__name__ for _, config_type in NETWORKS.values())
    raise BadSetting(
        f"No network has settings of the type {type(config).__name__}. Known are "
        f"{known}; a network of your own needs a line in NETWORKS."
    )


__all__ = ["NETWORKS", "UNet", "UNetConfig", "kind_of"]
