"""Make the pictures of the documentation, by denoising a simulated recording.

    python docs/make_pictures.py

takes about a minute on one core and writes to docs/pictures.
"""

from __future__ import annotations

from pathlib import Path

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.figures import (
    before_after_figure,
    noise_model_figure,
    save_figure,
    training_curves_figure,
)

PICTURES = Path(__file__).with_name("pictures")
STEPS = 900
FRAME = 0  # filaments, the hardest of the simulated scenes
SHOWN = slice(0, 160)  # pixels of each side; more would make the file large


def main() -> None:
    """Simulate an sCMOS recording, denoise it, and draw what a run leaves."""
    recording = simulate_stack(Camera(), n_frames=8, size=256, peak_electrons=60)
    result = ppn2v.denoise(
        recording.observation,
        axes="TYX",
        preset="fast",
        steps=STEPS,
        posterior_std=True,
        device="cpu",
        threads=1,
    )
    run, model = result.run, result.denoiser.noise_model
    assert run is not None
    assert run.pairs is not None
    assert model is not None
    assert result.posterior_std is not None
    noisy, truth = recording.observation[FRAME], recording.signal[FRAME]
    after, uncertainty = result.image[FRAME], result.posterior_std[FRAME]
    figures = {
        "before_after": before_after_figure(
            noisy[SHOWN, SHOWN],
            after[SHOWN, SHOWN],
            truth[SHOWN, SHOWN],
            uncertainty[SHOWN, SHOWN],
            psnr_before=psnr(noisy, truth).mean,
            psnr_after=psnr(after, truth).mean,
        ),
        "noise_model": noise_model_figure(model, run.pairs.histogram(), model.kind),
        "curves": training_curves_figure(
            {
                stage: [(p.step, p.train_loss, p.validation_loss) for p in points]
                for stage, points in run.curves.items()
            }
        ),
    }
    PICTURES.mkdir(exist_ok=True)
    for name, figure in figures.items():
        save_figure(figure, PICTURES / f"{name}.png")


if __name__ == "__main__":
    main()
