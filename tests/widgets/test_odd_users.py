"""What users do that nobody had in mind: each of these once broke something."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_ppn2v.widgets.layers import add_result, read_layer
from tests.widgets.test_denoise_panel import noisy_like


def colours(shape=(64, 64), n=3):
    planes = [noisy_like(shape, seed) for seed in range(3)]
    planes += [np.full(shape, 255)] * (n - 3)
    return np.stack(planes, axis=-1).astype(np.uint8)


# -- layers -------------------------------------------------------------------------


@pytest.mark.parametrize("show_as", ["posterior_std", "residual"])
@pytest.mark.parametrize("shape", [(64, 64), (4, 64, 64)], ids=["image", "stack"])
def test_uncertainty_and_residual_of_a_colour_image_lie_over_it(show_as, shape):
    viewer = ViewerModel()
    scale = (2.0, 0.5, 0.25)[-len(shape) :]
    layer = viewer.add_image(colours(shape), rgb=True, name="photo", scale=scale)
    values = np.random.default_rng(1).normal(size=(*shape, 3)).astype(np.float32)
    axes = "TYXC"[-len(shape) - 1 :]
    made = add_result(
        viewer, read_layer(layer), values, what="x", axes=axes, metadata={},
        show_as=show_as,
    )  # fmt: skip
    assert made.data.shape == (3, *shape)  # colours are planes to scroll through
    np.testing.assert_array_equal(made.data[1], values[..., 1])
    np.testing.assert_allclose(made.scale[1:], scale)
    assert made.axis_labels[0] == "c"


def test_two_of_three_colours_lie_over_the_image_too():
    viewer = ViewerModel()
    layer = viewer.add_image(colours(), rgb=True, name="photo", scale=(0.5, 0.25))
    made = add_result(
        viewer, read_layer(layer), colours()[..., :2], what="x", axes="YXC", metadata={}
    )
    assert made.data.shape == (2, 64, 64)
    np.testing.assert_allclose(made.scale, (1, 0.5, 0.25))
