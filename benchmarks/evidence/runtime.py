"""How long denoising takes: trained networks against BM3D and non-local means.

Krull et al. 2019 report 33.2 s for BM3D and 1.3 s for their network of 32 filters on a
cryo-TEM image, "about 25 times" (section 4.3.1), without naming the machines. Here both
of a pair run in turn on the same image and, unless another device is asked for, in one
thread of the same processor, by CPU seconds. Networks are untrained,
which takes the time of trained ones; training is not counted. The filters run as on
microscopy images, Anscombe transform included.

    python -m evidence.runtime --out FOLDER         # in the folder `benchmarks`
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import cpu_seconds, measure_pair, report
from evidence.anscombe import line_of_camera
from evidence.classical import FILTERS
from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.devices import choose_device, has_fast_bfloat16, threads
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.pipeline.presets import preset
from published import photon_transfer_gmm, synthetic_frames
from speed import as_our_model, untrained_network

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

NAME = "runtime"
TITLE = "Denoising time: networks against BM3D and non-local means"

_LINE = line_of_camera(gain=2.2, offset=100, read_noise=3.3)
"""Of the camera of `synthetic_frames`."""

Row = dict[str, Any]
Procedure = tuple[str, str, "Callable[[NDArray], object]"]
"""Name, settings, and what is timed."""


def run(
    out: Path | None, *, side: int = 512, repeats: int = 3, device: str = "cpu"
) -> list[Row]:
    """Time every network against every filter and write the table.

    Parameters
    ----------
    out
        Folder for CSV and Markdown, or None.
    side
        Of the image, pixels.
    repeats
        Timed runs of each of a pair, after one that warms up.
    device
        Of the networks. Where it is not "cpu", wall time is taken.
    """
    image = synthetic_frames(1, side)[0]
    where = choose_device(device)
    with threads(1):
        rows = [
            _row(network, classical, image, repeats, where)
            for network in networks(where)
            for classical in filters()
        ]
    report(f"{TITLE}, image of {side}²", NAME, rows, out)
    return rows


def networks(device: torch.device) -> list[Procedure]:
    """Our default network as it is used, and those of Krull et al. 2019."""
    size = UNetConfig()
    ours = untrained_network(size, "gaussian", 8)
    gmm = as_our_model(photon_transfer_gmm(100.0, 500.0, intercept=-210.0, slope=2.2))
    mmse = Denoiser(ours, gmm, Blindness(4, "mean"), "mmse", is_blind=True)
    refined = replace(mmse, refined=ours, estimate="refined", is_blind=False)
    named = [
        ("default", f"{size.n_filters} filters, refined, one pass", refined),
        ("default", f"{size.n_filters} filters, blind MMSE", mmse),
    ]
    for name in ("paper-n2v-microscopy", "paper-n2v-bsd68"):
        size = preset(name).network
        n2v = Denoiser(
            untrained_network(size, "free", 1), None, None, "prior-mean", is_blind=False
        )
        named.append((name, f"{size.n_filters} filters, one pass", n2v))
    return [
        (name, settings, denoiser.to(device).estimate_image)
        for name, settings, denoiser in named
    ]


def filters() -> list[Procedure]:
    """BM3D, where it is installed, and non-local means of the smallest and largest."""
    camera = (("gain", _LINE.gain), ("dark", _LINE.dark))
    found = []
    for patch, distance in ((5, 6), (7, 11)):
        windows = (("patch", patch), ("distance", distance))
        settings = f"patch {patch}, distance {distance}"
        found.append(_filter("nlm", settings, (*windows, ("strength", 0.6), *camera)))
    if importlib.util.find_spec("bm3d") is None:
        return found
    return [_filter("bm3d", "profile np", (("strength", 1.0), *camera)), *found]


def _filter(name: str, settings: str, parameters: tuple) -> Procedure:
    method = FILTERS[name]
    return method.label, settings, lambda image: method.apply(image, parameters)


def _row(
    network: Procedure,
    classical: Procedure,
    image: NDArray,
    repeats: int,
    device: torch.device,
) -> Row:
    is_cpu = device.type == "cpu"
    timing = measure_pair(
        lambda: classical[2](image),
        lambda: network[2](image),
        repeats=repeats,
        clock=cpu_seconds if is_cpu else time.perf_counter,
    )
    seconds = "CPU s per megapixel" if is_cpu else "wall s per megapixel"
    megapixels = image.size / 1e6
    return {
        "network": network[0],
        "estimate": network[1],
        "arithmetic": "bfloat16" if has_fast_bfloat16(device) else "float32",
        f"network, {seconds}": timing.second_seconds / megapixels,
        "filter": classical[0],
        "settings": classical[1],
        f"filter, {seconds}": timing.first_seconds / megapixels,
        "network times faster": timing.ratio,
        "range": "{:.3g} to {:.3g}".format(*timing.ratio_range),
        "repeats": timing.repeats,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add side, repeats and device."""
    parser.add_argument("--side", type=int, default=512, help="of the image, pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--device", default="cpu", help="of the networks; filters stay on the processor"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="folder for CSV and Markdown")
    add_options(parser)
    options = parser.parse_args(arguments)
    run(options.out, side=options.side, repeats=options.repeats, device=options.device)


if __name__ == "__main__":
    main()
