"""Denoise microscopy images without clean data (Probabilistic Noise2Void)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_ppn2v.api import Denoised, apply, denoise, fit_noise_model, train
    from napari_ppn2v.core.camera_maps import CameraMaps
    from napari_ppn2v.errors import PPN2VError
    from napari_ppn2v.files.camera_maps import load_camera_maps
    from napari_ppn2v.files.model_file import load_model, save_model
    from napari_ppn2v.files.noise_model_files import load_noise_model, save_noise_model
    from napari_ppn2v.pipeline.believing import check_repeats, check_result
    from napari_ppn2v.pipeline.checking import check_data
    from napari_ppn2v.pipeline.exporting import export_bioimage_model
    from napari_ppn2v.pipeline.inspection import inspect_noise_model
    from napari_ppn2v.pipeline.presets import preset
    from napari_ppn2v.reports.make import report
    from napari_ppn2v.stop import StopToken

__version__ = "0.1.0"

# Imported on first use: torch takes seconds to load, and a dock or `--help` should not
# wait for it.
_HOMES = {
    "Denoised": "api",
    "PPN2VError": "errors",
    "StopToken": "stop",
    "CameraMaps": "core.camera_maps",
    "apply": "api",
    "check_data": "pipeline.checking",
    "check_repeats": "pipeline.believing",
    "check_result": "pipeline.believing",
    "denoise": "api",
    "export_bioimage_model": "pipeline.exporting",
    "fit_noise_model": "api",
    "inspect_noise_model": "pipeline.inspection",
    "load_camera_maps": "files.camera_maps",
    "load_model": "files.model_file",
    "load_noise_model": "files.noise_model_files",
    "preset": "pipeline.presets",
    "report": "reports.make",
    "save_model": "files.model_file",
    "save_noise_model": "files.noise_model_files",
    "train": "api",
}

__all__ = [
    "CameraMaps",
    "Denoised",
    "PPN2VError",
    "StopToken",
    "__version__",
    "apply",
    "check_data",
    "check_repeats",
    "check_result",
    "denoise",
    "export_bioimage_model",
    "fit_noise_model",
    "inspect_noise_model",
    "load_camera_maps",
    "load_model",
    "load_noise_model",
    "preset",
    "report",
    "save_model",
    "save_noise_model",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
