"""What the noise tells about cameras: simulated ones with known truth, and real ones.

Run `python benchmarks/photon_transfer.py FOLDER --out docs/results`, with the folder
that holds the data sets w2s, tirf_scmos and lanl_emccd. Writes photon-transfer.csv and
photon-transfer.md. `--part` runs one of the three parts, `--steps` sets the length of
the two trainings with and without camera maps.
"""

from __future__ import annotations

import argparse
import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

import napari_ppn2v as ppn2v
from napari_ppn2v.core.camera import Camera, simulate_calibration
from napari_ppn2v.core.camera_readout import KnownCamera, readout_of_pairs
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.core.noise_models import NoiseModelConfig, fit_noise_model
from napari_ppn2v.core.pairs import SignalObservationPairs
from napari_ppn2v.core.photon_transfer import signal_rows, transfer_line
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.noise_drift import check_drift

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_ppn2v.core.pairs import PairHistogram

SEEDS = range(5)
CAMERAS = {
    "sCMOS, 60 e-": (Camera("scmos", 2.2, 100, 3.3), 60.0),
    "sCMOS, quiet": (Camera("scmos", 0.5, 100, 0.8), 60.0),
    "EMCCD, 15 e-": (Camera("emccd", 6.5, 100, 4.0), 15.0),
    "EMCCD, 60 e-": (Camera("emccd", 6.5, 100, 4.0), 60.0),
    "8 bit, clipped above": (Camera("scmos", 1.5, 8, 2.0, bit_depth=8), 168.0),
    "clipped at zero": (Camera("scmos", 1.5, 2, 3.0), 60.0),
}


@dataclass(frozen=True)
class Row:
    """One figure of the table."""

    part: str
    case: str
    quantity: str
    measured: str
    truth: str = ""
    error: str = ""

    @property
    def cells(self) -> list[str]:
        """As text."""
        return [
            *(self.part, self.case, self.quantity),
            *(self.measured, self.truth, self.error),
        ]


def simulated() -> Iterator[Row]:
    """Largest relative errors of gain and read noise over five seeds."""
    for name, (camera, electrons) in CAMERAS.items():
        told: dict[str, list[float]] = {}
        for seed in SEEDS:
            made = simulate_calibration(
                camera, n_repeats=50, size=64, peak_electrons=electrons, seed=seed
            )
            pairs = SignalObservationPairs.from_calibration(made.observation)
            histogram = pairs.histogram()
            for known, words in (
                (KnownCamera(camera.offset, None, camera.kind), "offset given"),
                (KnownCamera(), "nothing given"),
            ):
                found = drain(readout_of_pairs(histogram, known))
                truth = {"gain": camera.gain, "read_noise": camera.read_noise}
                for key, value in truth.items():
                    measured = getattr(found, key)
                    told.setdefault(f"{key}, {words}", []).append(
                        np.nan if measured is None else measured.value / value - 1
                    )
        for key, errors in told.items():
            values = np.array(errors)
            n_told = int(np.isfinite(values).sum())
            largest = f"{100 * np.nanmax(np.abs(values)):.1f} %" if n_told else "-"
            yield Row(
                "simulated", name, key, f"told {n_told} of {len(values)}", error=largest
            )


def readouts(data: Path) -> Iterator[Row]:
    """Slopes of real cameras."""
    noisy = tifffile.imread(data / "w2s" / "noisy_counts.tif")
    clean = tifffile.imread(data / "w2s" / "gt_counts.tif")
    pairs = SignalObservationPairs.from_pseudo_ground_truth(clean, noisy).histogram()
    found = drain(readout_of_pairs(pairs))
    yield Row("real", "w2s", "slope (ADU)", str(found.slope), "12.8 to 13.1")
    yield Row("real", "w2s", "camera", str(found.camera), "emccd")
    yield Row("real", "w2s", "gain (ADU/e-)", str(found.gain), "6.2 to 6.4")
    yield Row("real", "w2s", "offset (ADU)", str(found.offset), "99.8")
    yield Row("real", "w2s", "read noise (ADU)", str(found.read_noise), "2 to 3")
    yield from _drift_on_w2s(noisy, pairs)
    frames = tifffile.imread(data / "tirf_scmos" / "tirf_200Hz_20frames.tif")
    yield from _tirf(frames)
    series = np.load(data / "lanl_emccd" / "emccd_calibration.npz")
    for em, truth in (("em1", "0.259"), ("em100", "45.4")):
        scenes = list(series[f"{em}_samples"])
        dark = float(series[f"{em}_offset"].mean())
        noise = float(series[f"{em}_read_sigma"].mean())
        histogram = SignalObservationPairs.from_calibration(scenes).histogram()
        kind = "scmos" if em == "em1" else "emccd"
        known = KnownCamera(dark, noise, kind)
        for words, what in (("nothing given", KnownCamera()), ("dark given", known)):
            found = drain(readout_of_pairs(histogram, what))
            case = f"lanl_emccd {em}, {words}"
            yield Row("real", case, "slope (ADU)", str(found.slope), truth)
            yield Row("real", case, "gain (ADU/e-)", str(found.gain))
            yield Row(
                "real", case, "read noise (ADU)", str(found.read_noise), f"{noise:.1f}"
            )


def _drift_on_w2s(noisy: np.ndarray, pairs: PairHistogram) -> Iterator[Row]:
    """Check a fitted model, and the same with a wrong gain, against its recording."""
    config = NoiseModelConfig(kind="poisson-gamma")
    model = drain(fit_noise_model(pairs, config)).model
    state = model.state()
    for words, gain in (("same", 1.0), ("gain x 1.3", 1.3), ("gain x 0.7", 0.7)):
        changed = type(model).from_state({**state, "gain": gain * state["gain"]})
        for source, recording in (("pairs", pairs), ("frames", as_frames(noisy))):
            found = drain(check_drift(changed, recording))
            yield Row(
                "drift",
                f"w2s, {words}, by {source}",
                "deviation",
                f"{found.deviation:.3f}",
                error=found.verdict,
            )


def _tirf(frames: np.ndarray) -> Iterator[Row]:
    """Slopes by the conventions for finite repeats."""
    mean = frames.mean(0).ravel()
    for ddof in (0, 1):
        slope = np.polyfit(mean, frames.var(0, ddof=ddof).ravel(), 1)[0]
        yield Row(
            "real",
            "tirf_scmos",
            f"slope, all pixels alike, ddof {ddof} (ADU)",
            f"{slope:.3f}",
            "2.2 to 2.4",
        )
    pairs = SignalObservationPairs.from_calibration(frames).histogram()
    found = drain(readout_of_pairs(pairs))
    yield Row(
        "real",
        "tirf_scmos",
        "slope of lit pixels, ddof 1 (ADU)",
        str(found.slope),
        "2.2 to 2.4",
    )
    yield Row(
        "real",
        "tirf_scmos",
        "slope of lit pixels, ddof 0 (ADU)",
        f"{0.95 * found.slope.value:.3f}",
        "2.2 to 2.4",
    )
    yield Row("real", "tirf_scmos", "camera", str(found.camera), "not told")


def with_maps(data: Path, steps: int) -> Iterator[Row]:
    """Compare with and without maps: tirf_scmos, and a simulated camera."""
    frames = tifffile.imread(data / "tirf_scmos" / "tirf_200Hz_20frames.tif")
    arrays = np.load(data / "tirf_scmos" / "camera_maps.npz")
    maps = ppn2v.CameraMaps.from_arrays(arrays["offset"], arrays["gain"])
    yield from _maps_case("tirf_scmos", frames, maps, steps)
    arrays = np.load(data / "scmos_maps" / "maps.npz")
    keys = ("storm_offset", "storm_gain", "storm_variance")
    true_maps = ppn2v.CameraMaps.from_arrays(*(arrays[key] for key in keys))
    light = np.maximum(frames.mean(0) - 98, 0) / 2.4
    rng = np.random.default_rng(0)
    read = np.sqrt(true_maps.variance)
    counted = rng.poisson(light, frames.shape)
    made = true_maps.offset + true_maps.gain * counted
    made = np.rint(made + rng.normal(size=frames.shape) * read).clip(0, 65535)
    case = "simulated with scmos_maps"
    yield from _maps_case(case, made.astype(np.uint16), true_maps, steps)


def _maps_case(
    case: str, frames: np.ndarray, maps: ppn2v.CameraMaps, steps: int
) -> Iterator[Row]:
    from napari_ppn2v.core.camera_maps import fixed_pattern
    from napari_ppn2v.core.metrics import psnr

    raw = as_frames(frames, "TYX")
    pattern = fixed_pattern(raw, maps)
    # one peak for both: single pixels that are wrongly corrected would raise it
    span = float(np.ptp(np.mean(frames[1::2].astype(np.float32), axis=0)))
    for words, source, given in (
        ("without maps", raw, None),
        ("with maps", maps.correct(raw), maps),
    ):
        pairs = SignalObservationPairs.from_calibration(source).histogram()
        line = transfer_line(signal_rows(pairs))
        left = pattern.before if given is None else pattern.after
        where = f"{case}, {words}"
        yield Row(
            "maps", where, "slope (ADU)", f"{line.slope:.3f} ± {line.slope_error:.3f}"
        )
        yield Row("maps", where, "misfit of the line", f"{100 * line.misfit:.1f} %")
        yield Row("maps", where, "fixed pattern (ADU)", f"{left:.3f}")
        # trained on the even frames, scored against the mean of the odd ones
        began = time.process_time()
        result = ppn2v.denoise(
            frames[::2],
            axes="TYX",
            camera_maps=given,
            preset="fast",
            method="n2v",
            steps=steps,
            seed=0,
            threads=1,
        )
        other = np.mean([source.frame(i) for i in range(1, len(frames), 2)], axis=0)
        scores = [psnr(image, other, span).mean for image in result.image]
        noisy = [
            psnr(source.frame(i), other, span).mean for i in range(0, len(frames), 2)
        ]
        seconds = time.process_time() - began
        yield Row(
            "maps",
            where,
            f"PSNR, n2v {steps} steps (dB)",
            f"{np.mean(scores):.2f}",
            f"noisy {np.mean(noisy):.2f}",
            f"{seconds:.0f} CPU-s",
        )


HEAD = ["part", "case", "quantity", "measured", "truth", "largest error or verdict"]


def main() -> None:
    """Run the parts and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--part", choices=("simulated", "real", "maps"))
    parser.add_argument("--steps", type=int, default=200)
    options = parser.parse_args()
    parts = {
        "simulated": simulated,
        "real": lambda: readouts(options.data),
        "maps": lambda: with_maps(options.data, options.steps),
    }
    rows = []
    for name, part in parts.items():
        if options.part in (None, name):
            for row in part():
                rows.append(row.cells)
                print(" | ".join(row.cells), flush=True)
    if options.out is not None:
        write(rows, options)


def write(rows: list[list[str]], options: argparse.Namespace) -> None:
    """Write the table, keeping what other parts left there."""
    path = options.out / "photon-transfer.csv"
    if path.exists() and options.part is not None:
        redone = {row[0] for row in rows}
        with path.open(encoding="utf-8", newline="") as file:
            kept = [row for row in list(csv.reader(file))[1:] if row[0] not in redone]
        rows = sorted(kept + rows, key=lambda row: ORDER.index(row[0]))
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *rows])
    lines = ["# What the noise tells about the camera", "", WORDS, ""]
    for part in ORDER:
        lines += [f"## {TITLES[part]}", "", f"| {' | '.join(HEAD[1:])} |"]
        lines.append("|" + "---|" * (len(HEAD) - 1))
        lines += [f"| {' | '.join(row[1:])} |" for row in rows if row[0] == part]
        lines.append("")
    text = "\n".join(lines).rstrip() + "\n"
    (options.out / "photon-transfer.md").write_text(text, encoding="utf-8")


ORDER = ["simulated", "real", "drift", "maps"]
TITLES = {
    "simulated": "Simulated cameras",
    "real": "Real cameras",
    "drift": "Is a noise model still right",
    "maps": "Camera maps",
}
WORDS = """\
Made by `benchmarks/photon_transfer.py`; what is computed is explained in
[photon transfer](../explanation/photon-transfer.md). Simulated: 50 repeats of 64 x 64
pixels, five seeds, the largest relative error of what was told. Camera maps: each
training once, on the even frames; PSNR against the mean of the odd frames,
corrected in the same way, with the range of the uncorrected one as the peak.

The goal for the read noise, 10 %, is missed twice: by one EMCCD of few electrons with
its offset given (11.7 %; without it 2.8 %), and by a camera clipped at zero of which
nothing is known (12.6 %).

The maps supplied with tirf_scmos make its fixed pattern and the result worse. They
are not turned or mirrored: in the dark the fine structure of the mean image follows
that of the offset map (correlation 0.40; none in the other seven orientations), but
only by a ninth of its size. Why is not known; it would be so if the recording was
corrected before.

The other case are frames simulated with scmos_maps (gain 2.11): the PSNR is 0.2 dB
higher with them, in one run each, which may be chance. The slope is about 9 % low
with and without. With the same read noise for all pixels, and nothing else changed,
it is 2.128 ± 0.013 without and 2.108 ± 0.011 with maps, so it is the read noise
that differs; with 100 repeats in place of 20 it is 2.02 and 2.00."""


if __name__ == "__main__":
    main()
