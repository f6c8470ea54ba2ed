"""Options that several commands share, described once."""

# No future annotations here: typer reads the types themselves.

from pathlib import Path
from typing import Annotated

import typer

DATA, MODEL, TRAINING, COMPUTER, RESULT = (
    "Which data",
    "Noise model",
    "Training",
    "Computer",
    "Result",
)

Axes = Annotated[
    str | None,
    typer.Option(
        help="Letters of TZCYX, one for each axis of the images, in their order. "
        "Default: what the file says.",
        metavar="LETTERS",
        rich_help_panel=DATA,
    ),
]
Channel = Annotated[
    str | None,
    typer.Option(
        help="Channel to denoise, from 0, or 'all': each by itself, put together "
        "again in one result.",
        metavar="N|all",
        rich_help_panel=DATA,
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        help="Frames to use of each file, from 0: 0-9,12 or 5- for all from 5.",
        metavar="RANGES",
        rich_help_panel=DATA,
    ),
]
AsStack = Annotated[
    bool,
    typer.Option(
        "--as-stack",
        help="Take the images of each folder as one stack, ordered by the numbers in "
        "their names; names with t, z or c before the number give these axes.",
        rich_help_panel=DATA,
    ),
]
Calibration = Annotated[
    list[Path] | None,
    typer.Option(
        help="Recording of a static scene (50 frames or more) to fit the noise model "
        "to. Repeat the option for several scenes.",
        metavar="STACK",
        rich_help_panel=MODEL,
    ),
]
CalibrationAxes = Annotated[
    str | None,
    typer.Option(
        help="Axes of the calibration and dark recordings.",
        metavar="LETTERS",
        rich_help_panel=MODEL,
    ),
]
NoiseModelChoice = Annotated[
    str | None,
    typer.Option(
        "--noise-model",
        help="Noise-model file, or the name of one in the library, to use as it is.",
        metavar="FILE|NAME",
        rich_help_panel=MODEL,
    ),
]
NoiseModelKind = Annotated[
    str | None,
    typer.Option(
        help="auto (the best on pixels kept apart), gmm, histogram, camera, "
        "poisson-gaussian (sCMOS) or poisson-gamma (EMCCD).",
        metavar="KIND",
        rich_help_panel=MODEL,
    ),
]
Dark = Annotated[
    Path | None,
    typer.Option(
        help="Recording without light: fixes offset and read noise of the camera "
        "noise models.",
        metavar="STACK",
        rich_help_panel=MODEL,
    ),
]
CameraMaps = Annotated[
    list[Path] | None,
    typer.Option(
        "--camera-maps",
        help="Offset and gain of each pixel: an .npz with the arrays offset, gain and "
        "variance, a folder with such TIFFs, or the option once for each TIFF. All "
        "frames are corrected with them.",
        metavar="FILE",
        rich_help_panel=MODEL,
    ),
]
Offset = Annotated[
    float | None,
    typer.Option(
        help="Grey value without light: fixes the offset of the camera noise models.",
        metavar="ADU",
        rich_help_panel=MODEL,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="refined (the MMSE estimate, learnt with the noise model), pn2v (the "
        "MMSE estimate, computed with it) or n2v (no noise model). With --target: care "
        "(the targets are clean) or n2n (they are second noisy images). Default: that "
        "of the preset; pn2v with --estimate mmse.",
        metavar="refined|pn2v|n2v|care|n2n",
        rich_help_panel=TRAINING,
    ),
]
Target = Annotated[
    list[Path] | None,
    typer.Option(
        help="Images of the same scenes to learn from, for --method care or n2n: one "
        "for each noisy image, in their order. A file, a folder or a pattern in "
        "quotes; repeat the option for several.",
        metavar="IMAGE",
        rich_help_panel=TRAINING,
    ),
]
TargetAxes = Annotated[
    str | None,
    typer.Option(
        help="Axes of the targets. Default: --axes, or what their files say.",
        metavar="LETTERS",
        rich_help_panel=TRAINING,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(
        help="fast, balanced, thorough, or a paper's settings: paper-ppn2v, "
        "paper-n2v-bsd68, paper-n2v-simulated, paper-n2v-microscopy. "
        "Default: balanced.",
        metavar="NAME",
        rich_help_panel=TRAINING,
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Training budget. Some steps are timed, and the number that fits is kept "
        "in run.json, so that --steps repeats the run exactly.",
        rich_help_panel=TRAINING,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help="Training steps in all, in place of the preset's.",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Equal seed, steps, threads and computer give equal results on the CPU. "
        "Default: 0.",
        rich_help_panel=TRAINING,
    ),
]
Estimate = Annotated[
    str | None,
    typer.Option(
        help="refined (posterior mean, learnt), mmse (posterior mean, computed), "
        "prior-mean, or auto: what promises the lowest error under the noise model.",
        metavar="NAME",
        rich_help_panel=RESULT,
    ),
]
Blind = Annotated[
    str | None,
    typer.Option(
        help="Whether the network is kept from seeing the pixel it predicts (slower).",
        metavar="auto|yes|no",
        rich_help_panel=RESULT,
    ),
]
TileSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the tiles, in pixels. Smaller needs less memory. Default: 512.",
        rich_help_panel=RESULT,
    ),
]
PosteriorStd = Annotated[
    bool | None,
    typer.Option(
        "--posterior-std",
        help="Also write the uncertainty of each pixel, to a second file.",
        rich_help_panel=RESULT,
    ),
]
AverageOrientations = Annotated[
    bool | None,
    typer.Option(
        "--average-orientations",
        help="Denoise in all eight orientations and average: about 0.1 dB better, "
        "eight times as long to denoise.",
        rich_help_panel=RESULT,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="Type of the result: float32, or same as the input (rounded, clipped). "
        "Default: float32.",
        metavar="float32|same",
        rich_help_panel=RESULT,
    ),
]
OmeZarrVersion = Annotated[
    str | None,
    typer.Option(
        help="Version of OME-Zarr of a result in .zarr; 0.4 is for programs that do "
        "not yet read 0.5. Default: 0.5.",
        metavar="0.5|0.4",
        rich_help_panel=RESULT,
    ),
]
Report = Annotated[
    bool,
    typer.Option(
        "--report",
        help="Also write a one-page report, with checks of data and result.",
        rich_help_panel=RESULT,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Go on with the interrupted run of this output, with its settings.",
        rich_help_panel=RESULT,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace an earlier result.",
        rich_help_panel=RESULT,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="auto, cpu, cuda or mps; cuda:1 is the second graphics card. Several "
        "cards share a training: cuda:0,cuda:1 or cuda:all.",
        metavar="NAME",
        rich_help_panel=COMPUTER,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="Threads of the CPU. Default: one less than there are processors.",
        rich_help_panel=COMPUTER,
    ),
]
DaskScheduler = Annotated[
    str | None,
    typer.Option(
        help="Denoise on the Dask cluster of this scheduler, with the same result; its "
        "workers need the images under the same path.",
        metavar="ADDRESS",
        rich_help_panel=COMPUTER,
    ),
]
DaskWorkers = Annotated[
    int | None,
    typer.Option(
        help="Denoise in this many processes of this computer, with the same result.",
        metavar="N",
        rich_help_panel=COMPUTER,
    ),
]
