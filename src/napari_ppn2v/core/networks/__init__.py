"""Feature networks, by name.

A new network is one file and one line in `NETWORKS`: an `nn.Module` built from its
frozen config, (B, 1, Y, X) -> (B, n_features, Y, X), with `stride`, `halo` and
`n_features`.
"""

from napari_ppn2v.core.network_config import UNetConfig
from napari_ppn2v.core.networks.unet import UNet

NETWORKS = {"unet": (UNet, UNetConfig)}

__all__ = ["NETWORKS", "UNet", "UNetConfig"]
