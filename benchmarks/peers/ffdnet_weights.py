"""Turn the weights that the authors of FFDNet published into those of Noise2VST.

    PEER_PYTHON benchmarks/peers/ffdnet_weights.py FFDNet_gray.mat ffdnet_gray.pth

Noise2VST takes the same network with the same weights in PyTorch's format from a
release of another repository. Where that cannot be reached, the original MatConvNet
file in the repository cszn/FFDNet gives them: kernels are stored columns first, and
the four sub-images of the rearranged input and output are ordered by columns instead
of rows.
Needs h5py (the file is MATLAB 7.3).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

SUB_IMAGES = [0, 2, 1, 3]
"""Of 2 x 2 pixels: where PyTorch's row-by-row order stands in MATLAB's."""


def read_matconvnet(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels (out, in, rows, columns) and biases (out,) of all convolutions."""
    import h5py

    layers = []
    with h5py.File(path) as file:
        for reference in file["net"]["layers"][:, 0]:
            layer = file[reference]
            if bytes(np.asarray(layer["type"], dtype=np.uint8)) != b"conv":
                continue
            kernel, bias = (np.array(file[item]) for item in layer["weights"][:].flat)
            # HDF5 lists MATLAB's axes in reverse: out, in, columns, rows.
            layers.append((kernel.transpose(0, 1, 3, 2), bias.ravel()))
    return layers


def state_dict(
    layers: list[tuple[np.ndarray, np.ndarray]],
) -> dict[str, torch.Tensor]:
    """Name them as an alternation of convolutions and ReLU, in PyTorch's order."""
    layers = list(layers)
    kernel, bias = layers[0]
    layers[0] = kernel[:, [*SUB_IMAGES, 4]], bias  # the noise level comes last
    kernel, bias = layers[-1]
    layers[-1] = kernel[SUB_IMAGES], bias[SUB_IMAGES]
    weights = {}
    for index, (kernel, bias) in enumerate(layers):
        for name, values in (("weight", kernel), ("bias", bias)):
            values = np.ascontiguousarray(values, dtype=np.float32)
            weights[f"model.{2 * index}.{name}"] = torch.from_numpy(values)
    return weights


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("matlab", type=Path)
    parser.add_argument("pytorch", type=Path)
    options = parser.parse_args()
    torch.save(state_dict(read_matconvnet(options.matlab)), options.pytorch)
