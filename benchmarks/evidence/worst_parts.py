"""Where Noise2Void errs most on photographs (Krull et al. 2019, Fig. 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evidence.ledger import write_rows
from evidence.measures import largest_error, worst_part
from evidence.photograph_runs import kept_estimates
from evidence.photographs import PEAK, TEST_SEED, read_test, with_noise
from evidence.pictures import keep_crops, window
from napari_ppn2v.core.metrics import psnr

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Images = dict[int, NDArray]

N2V = ("n2v-published", "n2v-ours")
CARE, OURS = "care", "auto-bootstrapped-ours"
TRUTH, NOISY = "truth", "noisy"
SIGMA = 25.0  # of the noise in bsd68
CROP = 48  # pixels: single ones are to be seen
FILES = "failures-photographs"


def keep_worst_parts(data: Path, estimates: Path, out: Path) -> None:
    """Cut out where Noise2Void errs most, from the estimates that bsd68 keeps.

    Looks for the pixel of the largest error, and for the image of the largest sum of
    squared errors and its worst part. Says so where an estimate is missing.

    Parameters
    ----------
    estimates : folder with a file for each method
    out : folder for a CSV file and the crops
    """
    files = {name: estimates / f"{name}-train.npz" for name in (*N2V, CARE, OURS)}
    kept: dict[str, Images] = {
        name: kept_estimates(path) for name, path in files.items() if path.exists()
    }
    n2v = next((name for name in N2V if name in kept), None)
    if n2v is None or CARE not in kept:
        print(
            "No worst parts of photographs: run bsd68 with care and one of "
            f"{', '.join(N2V)} first, with the same --work."
        )
        return
    numbers = sorted(set.intersection(*(set(images) for images in kept.values())))
    clean = read_test(data)
    noisy = with_noise(clean, SIGMA, TEST_SEED)
    images = {TRUTH: dict(enumerate(clean)), NOISY: dict(enumerate(noisy))}
    images |= {name: kept[name] for name in (CARE, n2v, OURS) if name in kept}
    found = [kept[n2v][number] for number in numbers]
    truths = [clean[number] for number in numbers]
    rows = []
    for case, (index, row, column) in {
        "pixel": largest_error(found, truths),
        "image": worst_part(found, truths, CROP),
    }.items():
        chosen = {name: stack[numbers[index]] for name, stack in images.items()}
        place = window(chosen[TRUTH].shape, row, column, CROP)
        crops = {f"{case}/{name}": image[place] for name, image in chosen.items()}
        keep_crops(out / f"{FILES}.npz", crops)
        spot = {"image": numbers[index], "row": row, "column": column}
        spot |= {"top": place[0].start, "left": place[1].start}
        rows += [
            {
                "case": case,
                "method": name,
                **spot,
                **_scores(image, chosen, row, column),
            }
            for name, image in chosen.items()
        ]
    write_rows(out / f"{FILES}.csv", rows)


def _scores(
    image: NDArray, chosen: dict[str, NDArray], row: int, column: int
) -> dict[str, Any]:
    truth = chosen[TRUTH]
    score = "" if image is truth else psnr(image, truth, PEAK).mean
    return {"grey value": float(image[row, column]), "psnr of image": score}
