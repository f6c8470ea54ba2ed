import numpy as np
import pytest

from napari_ppn2v.cli.pictures import draw_noise_model
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models.camera_models import PoissonGaussianModel
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.pipeline.noise_sources import Stoppable, Stopped
from napari_ppn2v.stop import StopToken


def test_a_run_that_was_stopped_has_a_picture_of_its_noise_model(tmp_path):
    stop = StopToken()
    model = PoissonGaussianModel(
        gain=2.0, offset=100.0, read_noise=4.0, signal_range=(100.0, 200.0)
    )
    frames = as_frames(np.full((2, 16, 16), 150, np.float32), "TYX")
    signal = Stoppable(frames, stop)
    pairs = SignalObservationPairs.from_pseudo_ground_truth(signal, frames)
    stop.stop()
    with pytest.raises(Stopped):
        signal.frame(0)
    draw_noise_model(tmp_path / "noise_model.png", model, pairs)
    assert (tmp_path / "noise_model.png").stat().st_size > 1000
