"""Stands in for torchvision where none is installed that fits the peer's torch.

Two peers import it without computing with it: CAREamics where it defines other methods
than Noise2Void, PPN2V for `to_tensor`, which only moves the channels of float images.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

NAMES = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")


def ensure_torchvision() -> str:
    """Make `torchvision.transforms.functional` importable; return its version."""
    try:
        importlib.import_module(NAMES[-1])
    except (ImportError, RuntimeError):  # RuntimeError: made for another torch
        return _install()
    return str(sys.modules[NAMES[0]].__version__)


def _install() -> str:
    torchvision, transforms, functional = (ModuleType(name) for name in NAMES)
    for module in (torchvision, transforms, functional):
        module.__spec__ = ModuleSpec(module.__name__, loader=None)
        sys.modules[module.__name__] = module
    torchvision.__version__ = "stand-in"
    torchvision.transforms = transforms
    transforms.functional = functional
    functional.to_tensor = _to_tensor
    return torchvision.__version__


def _to_tensor(image: np.ndarray) -> torch.Tensor:
    import numpy as np
    import torch

    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError("This stand-in for torchvision takes float images only.")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, 2, 0)))
