"""Expected error without ground truth against the true one, image by image.

    python benchmarks/expected_error.py FOLDER --out docs/results

Trains the preset `fast` once on each data set (about a minute each on one processor),
checks the result as a report does, and compares with the truth, which only this program
sees.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from common import (
    Benchmark,
    describe_machine,
    load_benchmark,
    markdown_table,
    write_csv,
)
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.pipeline.result_check import ResultCheck, check_result
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_ppn2v.core.denoiser import Denoiser

FRAMES_OF_TRUTH = {"w2s": 400}
"""Frames averaged for the truth, whose own noise is taken out of the true error."""


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="holds the data sets")
    parser.add_argument("--data", nargs="+", default=["w2s", "bright"])
    parser.add_argument("--method", default="refined")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for CSV and Markdown")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, summaries = [], []
    for name in options.data:
        data = load_benchmark(options.folder, name)
        denoiser, check = trained_and_checked(data, options.preset, options.method)
        true, spread = compared(data, denoiser)
        rows += rows_of(name, data, check, true)
        summaries.append(summary_of(name, check, true, spread))
        print(markdown_table(summaries[-1:]), flush=True)
    if options.out is not None:
        write_csv(options.out / "expected-error.csv", rows)
        page = as_page(summaries, f"{options.preset}, {options.method}")
        (options.out / "expected-error.md").write_text(page, encoding="utf-8")


def trained_and_checked(
    data: Benchmark, preset_name: str, method: str
) -> tuple[Denoiser, ResultCheck]:
    """Train on the noisy frames alone, and check without the truth."""
    frames = as_frames(data.noisy, "TYX")
    config, stop = preset(preset_name, method=method), StopToken()
    job = train_denoiser([frames], config, device=torch.device("cpu"), stop=stop)
    denoiser = drain(job).denoiser
    check = drain(check_result(denoiser, [frames], stop=stop))
    assert check is not None
    return denoiser, check


def compared(
    data: Benchmark, denoiser: Denoiser
) -> tuple[NDArray[np.float64], dict[str, float]]:
    """Return the true error of each image, ADU, and how the uncertainty covers it."""
    squares, scaled, factored = [], [], []
    raw = replace(denoiser, std_calibration=None)
    assert denoiser.noise_model is not None
    for noisy, truth in zip(data.noisy, data.truth, strict=True):
        estimate, plain = denoiser.estimate_image(noisy), raw.estimate_image(noisy)
        error = denoiser.result(estimate).astype(float) - truth
        moments = denoiser.noise_model.moments(torch.from_numpy(truth))
        own = moments[1].numpy() / FRAMES_OF_TRUTH.get(data.name, np.inf)
        squares.append(np.mean(error**2) - own.mean())
        if estimate.posterior_std is not None and plain.posterior_std is not None:
            scaled.append(error / np.sqrt(plain.posterior_std**2 + own))
            factored.append(error / np.sqrt(estimate.posterior_std**2 + own))
    coverage = {}
    for name, values in ((" as trained", scaled), (" calibrated", factored)):
        if values:
            z = np.stack(values)
            coverage[f"spread{name}"] = float(np.sqrt(np.mean(z**2)))
            coverage[f"in 1 std{name}, %"] = float(100 * np.mean(np.abs(z) < 1))
            coverage[f"in 1.96 std{name}, %"] = float(100 * np.mean(np.abs(z) < 1.96))
    return np.sqrt(squares), coverage


def rows_of(
    name: str, data: Benchmark, check: ResultCheck, true: NDArray[np.float64]
) -> list[dict[str, Any]]:
    """One row for each image."""
    rows = []
    for number, (each, truth) in enumerate(
        zip(check.errors.per_image, true, strict=True)
    ):
        peak = float(np.ptp(data.truth[number]))
        rows.append(
            {
                "data": name,
                "image": number,
                "expected_rmse_adu": each.rmse if each else float("nan"),
                "low_adu": each.low if each else float("nan"),
                "high_adu": each.high if each else float("nan"),
                "true_rmse_adu": float(truth),
                "deviation_percent": 100 * (each.rmse / truth - 1)
                if each
                else float("nan"),
                "expected_psnr_own_range_db": each.psnr if each else float("nan"),
                "true_psnr_range_of_truth_db": float(20 * np.log10(peak / truth)),
            }
        )
    return rows


def summary_of(
    name: str,
    check: ResultCheck,
    true: NDArray[np.float64],
    coverage: dict[str, float],
) -> dict[str, Any]:
    """One row for each data set."""
    told = [(e, t) for e, t in zip(check.errors.per_image, true, strict=True) if e]
    off = np.array([100 * (e.rmse / t - 1) for e, t in told])
    overall = float(np.sqrt(np.mean(true**2)))
    return {
        "data": name,
        "true error, ADU": overall,
        "expected": check.errors.rmse or float("nan"),
        "by variance alone": check.errors.from_variance,
        "mean deviation, %": float(off.mean()),
        "mean of its size, %": float(np.abs(off).mean()),
        "largest, %": float(np.abs(off).max()),
        "within 6 %": f"{int(np.sum(np.abs(off) <= 6))} of {len(true)}",
        "truth in range": f"{sum(e.low < t < e.high for e, t in told)} of {len(true)}",
        "std factor": check.std_factor or float("nan"),
        **coverage,
    }


def as_page(summaries: list[dict[str, Any]], what: str) -> str:
    """Lay the summaries out, quantities down and data sets across."""
    turned = [
        {"": key, **{row["data"]: row[key] for row in summaries}}
        for key in summaries[0]
        if key != "data"
    ]
    machine = "; ".join(f"{key}: {value}" for key, value in describe_machine().items())
    return (
        f"# Expected error against the true one ({what})\n\n"
        "No ground truth was used for the expected errors; how they are made is in "
        "[can I believe the result](../explanation/can-i-believe-the-result.md). "
        "Errors are root mean squares in grey values (ADU); deviations are those of "
        "single images. The truth of `w2s` is the average of 400 frames, whose own "
        "noise is taken out of the true error. The noise models are bootstrapped.\n\n"
        f"{markdown_table(turned)}\n"
        "The last rows: the error over the posterior standard deviation (with the "
        "noise of the truth added), as the network was trained to give it, and "
        "calibrated without ground truth as it is delivered. Right are 1, 68 % and "
        "95 %.\n\n"
        "`bright` holds, by the way it was made, a texture of single pixels in its "
        "truth. A network that is trained blind cannot keep it, the bootstrapped noise "
        "model takes it for noise, and so it is missing in the expected error: what is "
        "lost in single pixels is told only with a calibration. On such data the "
        "expected error is too small.\n\n"
        f"All images: [expected-error.csv](expected-error.csv).\n\n{machine}\n"
    )


if __name__ == "__main__":
    main()
