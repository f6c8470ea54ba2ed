"""Real recordings with what is known of them, for the data check."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from common import simulate_bright
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.events import drain
from napari_ppn2v.pipeline.data_check import check_calibration, check_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_ppn2v.pipeline.data_check import DataCheck

FINE, CAREFUL, FAILS = "fine", "careful", "will not work"


@dataclass(frozen=True)
class RealCheck:
    """A recording, and what its origin says about it.

    Attributes
    ----------
    known : in words
    expected : verdict by question; "overall" for that of the whole
    """

    name: str
    known: str
    expected: Mapping[str, str]
    check: Callable[[], DataCheck]

    def is_right(self, found: DataCheck) -> bool:
        """Whether every verdict is the expected one."""
        return all(
            (found.verdict if question == "overall" else _verdict(found, question))
            == verdict
            for question, verdict in self.expected.items()
        )


def _verdict(found: DataCheck, question: str) -> str:
    finding = found.finding(question)
    return finding.verdict if finding else ""


def real_checks(folder: Path) -> list[RealCheck]:
    """Return all recordings of the data folder, read when they are checked."""
    lanl = np.load(folder / "lanl_emccd" / "emccd_calibration.npz")
    maps = np.load(folder / "tirf_scmos" / "camera_maps.npz")
    tirf = _read(folder / "tirf_scmos" / "tirf_200Hz_20frames.tif")
    w2s = folder / "w2s"
    truth = _read(w2s / "gt_counts.tif").astype(np.float32)
    gain = maps["gain"].astype(np.float32)
    return [
        RealCheck(
            "w2s, counts",
            "usable; 0.2 to 0.4 % clipped, at another value in each image",
            {"overall": CAREFUL, "clipping": CAREFUL, "noise correlation": FINE},
            _stack(_read(w2s / "noisy_counts.tif")),
        ),
        RealCheck(
            "w2s, 8 bit",
            "contrast stretched image by image",
            {"overall": FAILS, "grey levels": FAILS, "noise correlation": FINE},
            _stack(_read(w2s / "noisy_8bit.tif")),
        ),
        RealCheck(
            "bright (simulated light, real structures)",
            "fine",
            {"overall": FINE},
            _stack(simulate_bright(truth)[0]),
        ),
        RealCheck(
            "tirf_scmos",
            "usable with care: offset and read noise differ by pixel",
            {"overall": CAREFUL, "fixed pattern": CAREFUL, "noise by pixel": CAREFUL},
            _stack(tirf),
        ),
        RealCheck(
            "tirf_scmos over its gain map (about 94)",
            "a smaller fixed pattern; read noise as before",
            {"overall": CAREFUL, "noise by pixel": CAREFUL},
            _stack((tirf.astype(np.float32) - 94) / gain + 94),
        ),
        RealCheck(
            "tirf_scmos less its offset map",
            "not known: does the map belong to these frames?",
            {"noise by pixel": CAREFUL},
            _stack(tirf.astype(np.float32) - maps["offset"].astype(np.float32) + 96),
        ),
        RealCheck(
            "tirf_scmos, as calibration",
            "steady to 0.1 %; noise by pixel",
            {"steadiness": FINE, "noise by pixel": CAREFUL},
            partial(_calibration, [tirf]),
        ),
        RealCheck(
            "lanl_emccd EM 100, as images",
            "3 x 3 pixels: no images",
            {"overall": FAILS, "size": FAILS},
            _stack(lanl["em100_samples"][3]),
        ),
        *(
            RealCheck(
                f"lanl_emccd EM {gain_name}, as calibration",
                "usable",
                {"overall": FINE},
                partial(_calibration, list(lanl[f"em{gain_name}_samples"])),
            )
            for gain_name in (1, 100)
        ),
        RealCheck(
            "twophoton_structured",
            "noise correlated by 0.41 along x, 0.00 along y; 25 % zeros",
            {"overall": FAILS, "noise correlation": FAILS, "clipping": CAREFUL},
            _stack(_read(folder / "twophoton_structured" / "frames.tif")),
        ),
        RealCheck(
            "bpae_scmos",
            "usable; the brightest 0.35 % clipped",
            {"overall": CAREFUL, "clipping": CAREFUL, "noise correlation": FINE},
            _stack(_read(folder / "bpae_scmos" / "noisy_counts.tif")),
        ),
        RealCheck(
            "fmd",
            "8 bit as recorded; correlated by 0.055 along x",
            {"overall": FINE},
            _stack(_read(folder / "fmd" / "noisy.tif")),
        ),
        RealCheck(
            "scmos_maps, STORM frames",
            "sCMOS with noisy pixels; moves, so that noise by pixel is not asked",
            {"noise correlation": FINE, "noise by pixel": ""},
            _stack(_read(folder / "scmos_maps" / "storm_sample_11frames.tif")),
        ),
        RealCheck(
            "bsd68 with noise of 25",
            "fine: photographs, with structures at the size of a pixel",
            {"overall": FINE},
            _stack(_photographs(folder / "bsd68" / "test68.npz")),
        ),
    ]


def _read(path: Path) -> NDArray:
    frames = np.asarray(tifffile.imread(path))
    return frames[None] if frames.ndim == 2 else frames


def _stack(frames: NDArray) -> Callable[[], DataCheck]:
    return lambda: drain(check_stack(as_frames(frames, "TYX")))


def _calibration(scenes: list[NDArray]) -> DataCheck:
    return drain(check_calibration([as_frames(scene, "TYX") for scene in scenes]))


def _photographs(path: Path) -> NDArray:
    rng = np.random.default_rng(0)
    with np.load(path) as file:
        some = np.stack([file[name][:320, :320] for name in sorted(file)[:12]])
    return (some + rng.normal(0, 25, some.shape)).astype(np.float32)
