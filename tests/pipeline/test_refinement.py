import numpy as np
import pytest

from napari_ppn2v.core.training_stack import TrainingStack
from napari_ppn2v.pipeline.refinement import looked_at


@pytest.mark.parametrize(
    ("side", "n_images", "nlooked_at"),
    [(64, 10, 10), (128, 200, 62), (512, 24, 4), (1024, 24, 4), (2048, 1, 1)],
)
def test_what_was_lost_is_measured_on_enough_pixels(side, n_images, nlooked_at):
    image, held = np.zeros((side, side), np.float32), np.zeros((side, side), bool)
    chosen = looked_at(TrainingStack([image] * n_images, [held] * n_images))
    assert len(set(chosen)) == nlooked_at
    assert chosen[0] == 0
    assert chosen[-1] == n_images - 1
