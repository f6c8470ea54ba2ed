"""Pictures of noise models, results and training, for files and reports.

Pure functions from data to a matplotlib figure. They never touch pyplot or the global
settings, so they are safe in threads and inside other programs. Every figure comes in
a light and a dark style.
"""

from napari_ppn2v.figures.before_after import before_after_figure
from napari_ppn2v.figures.common import StyleName, save_figure
from napari_ppn2v.figures.expected_error import expected_error_figure
from napari_ppn2v.figures.noise_model import noise_model_figure
from napari_ppn2v.figures.residual import (
    residual_figure,
    residual_statistics_figure,
)
from napari_ppn2v.figures.training_curves import training_curves_figure

__all__ = [
    "StyleName",
    "before_after_figure",
    "expected_error_figure",
    "noise_model_figure",
    "residual_figure",
    "residual_statistics_figure",
    "save_figure",
    "training_curves_figure",
]
