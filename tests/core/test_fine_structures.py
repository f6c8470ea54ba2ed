import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_ppn2v.core.fine_structures import FineStructures
from napari_ppn2v.core.scenes import filaments

NOISE = 4.0  # standard deviation, ADU


def scene(seed):
    image = filaments((192, 256), np.random.default_rng(seed))
    return gaussian_filter(100 * image, 1.0)


def held_by(denoise, n_images=4, noise=NOISE):
    """Measure what a way of denoising holds, and what it truly holds."""
    found, random = FineStructures(), np.random.default_rng(0)
    for seed in range(n_images):
        signal = scene(seed)
        x = signal + random.normal(0, noise, signal.shape)
        f = denoise(x, signal)
        simulated = f + random.normal(0, noise, signal.shape)
        again = denoise(simulated, f)
        fields = (x, f, simulated, again, np.full(signal.shape, noise**2))
        found.add(*(field.astype(np.float32) for field in fields))
    return found.held()


def test_the_signal_itself_holds_all_of_its_fine_structures():
    assert held_by(lambda x, signal: signal) == pytest.approx(1, abs=0.03)


def test_a_blurred_signal_has_lost_some():
    mild = held_by(lambda x, signal: gaussian_filter(signal, 1))
    strong = held_by(lambda x, signal: gaussian_filter(signal, 2))
    assert strong < mild < 0.9


def test_a_sharpened_signal_holds_more_than_there_is():
    def sharpened(x, signal):
        return signal + 0.5 * (signal - gaussian_filter(signal, 2))

    assert held_by(sharpened) > 1.1


@pytest.mark.parametrize("width", [0.6, 1.0, 1.6])
def test_noise_that_was_taken_over_does_not_count(width):
    # a filter of the observation holds what the same filter of the signal holds
    found = held_by(lambda x, signal: gaussian_filter(x, width))
    true = held_by(lambda x, signal: gaussian_filter(signal, width))
    assert found == pytest.approx(true, abs=0.06)


def test_the_noisy_image_holds_everything():
    assert held_by(lambda x, signal: x) == pytest.approx(1, abs=0.05)


def test_where_no_structure_is_seen_nothing_is_told():
    assert held_by(lambda x, signal: 0 * signal, noise=1e4) is None
    assert FineStructures().held() is None
