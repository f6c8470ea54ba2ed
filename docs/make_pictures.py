"""Make the pictures of the documentation.

    python docs/make_pictures.py

denoises a simulated recording, which takes about a minute on one core, and writes to
docs/pictures. The pictures of the viewer are taken by `make click-through`; then

    python docs/make_pictures.py --viewer click-through

makes those that the documentation shows small enough for it, in docs/images/viewer.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_stack
from napari_ppn2v.core.metrics import psnr
from napari_ppn2v.figures import (
    before_after_figure,
    noise_model_figure,
    save_figure,
    training_curves_figure,
)

if TYPE_CHECKING:
    from PIL import Image

DOCS = Path(__file__).parent
PICTURES, VIEWER_PICTURES = DOCS / "pictures", DOCS / "images" / "viewer"
STEPS = 900
FRAME = 0  # filaments, the hardest of the simulated scenes
SHOWN = slice(0, 160)  # pixels of each side; more would make the file large

VIEWER_STEPS = (
    "1_ready",
    "2_training",
    "3_noise_model",
    "5_denoised",
    "6_inspect",
    "7_applied",
    "8_exported",
)
THEMES = ("dark", "light")
WIDTH = 1400  # pixels of the pictures of the viewer
COLOURS = (256, 192, 128, 96, 64)  # tried one after the other; noise needs much room
MOST_BYTES = 240_000


def main() -> None:
    """Make the pictures of a run, or those of the viewer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--viewer", type=Path, help="folder of the click-through")
    folder = parser.parse_args().viewer
    if folder is None:
        make_pictures_of_a_run()
    else:
        make_pictures_of_the_viewer(folder)


def make_pictures_of_a_run() -> None:
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


def make_pictures_of_the_viewer(folder: Path) -> None:
    """Scale the pictures of the click-through, and give them few colours."""
    from PIL import Image  # comes with napari

    VIEWER_PICTURES.mkdir(parents=True, exist_ok=True)
    for step in VIEWER_STEPS:
        for theme in THEMES:
            name = f"{step}_{theme}.png"
            whole = Image.open(folder / name).convert("RGB")
            size = WIDTH, round(whole.height * WIDTH / whole.width)
            save_small(whole.resize(size, Image.Resampling.LANCZOS), name)


def save_small(picture: Image.Image, name: str) -> None:
    """Save a picture of the viewer with as many colours as its size allows."""
    from PIL import Image

    for count in COLOURS:
        # dithering would strew dots over even areas, and make the file large
        few = picture.quantize(
            count,
            method=Image.Quantize.MAXCOVERAGE,
            kmeans=1,
            dither=Image.Dither.NONE,
        )
        few.save(VIEWER_PICTURES / name, optimize=True)
        if (VIEWER_PICTURES / name).stat().st_size <= MOST_BYTES:
            return


if __name__ == "__main__":
    main()
