"""Filters without training, each with the parameter that suits the data best.

Krull et al. 2019 (section 4.5, Fig. 7) compare with mean and median filters of 3, 5
and 7 pixels, of which they show the one of best mean PSNR, with non-local means, whose
h they grid-search, and with BM3D. `grid_search` does the same for every filter here:
it knows the truth, which no user does, so that it favours these baselines.

BM3D and non-local means expect white Gaussian noise of one strength. Their parameter
is `strength`, in units of the standard deviation of the noise, and there are three
ways to that standard deviation:

- plain: estimated from each image;
- stabilised: 1, after a generalised Anscombe transform with the line of variance that
  all noisy images together show (`evidence.anscombe`). Another gain would only scale
  the strength; another dark level of up to one photon gained nothing where tried;
- known (`Filter.with_known_noise`): given, as for BSD68 with its added noise.

Edges are continued by reflection, but for BM3D, whose blocks stay inside the image.
Nothing here draws random numbers, and BM3D takes one thread, so results repeat exactly.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from common import cpu_seconds
from evidence.anscombe import (
    VarianceLine,
    estimate_noise_sd,
    estimate_variance_line,
    stabilise,
    unstabilise,
)
from napari_ppn2v.core.metrics import psnr

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Parameters = tuple[tuple[str, int | float], ...]
"""Names and values, in the order in which a table shows them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One classical method.

    Attributes
    ----------
    name, label
        For programs and for tables.
    grid
        Parameters to try on any image.
    stabilised_grid
        Parameters to try after an Anscombe transform; see `adapted_to`.
    function
        Called with a (Y, X) float64 image in ADU and the parameters by name.
    """

    name: str
    label: str
    grid: tuple[Parameters, ...]
    function: Callable[..., Floats]
    stabilised_grid: tuple[Parameters, ...] = ()

    def apply(self, image: NDArray, parameters: Parameters) -> NDArray[np.float32]:
        """Filter one (Y, X) image in ADU; returns the same shape and unit.

        Raises
        ------
        ModuleNotFoundError  If the library of the method is not installed.
        """
        image = np.asarray(image, dtype=np.float64)
        return self.function(image, **dict(parameters)).astype(np.float32)

    def adapted_to(self, noisy: Sequence[NDArray]) -> Filter:
        """Also try the Anscombe transform that suits these images of one camera.

        Returns this filter where it knows no such transform, or where the variance
        of the images does not rise with their signal.
        """
        line = estimate_variance_line(noisy) if self.stabilised_grid else None
        if line is None:
            return replace(self, stabilised_grid=())
        camera = (("gain", line.gain), ("dark", line.dark))
        stabilised = tuple(point + camera for point in self.stabilised_grid)
        return replace(self, grid=self.grid + stabilised, stabilised_grid=())

    def with_known_noise(self, noise_sd: float) -> Filter:
        """Take this standard deviation (ADU) of white Gaussian noise as known.

        The strengths tried are those around 1 of the Anscombe transform, after which
        the standard deviation is known too. Filters without a strength stay as they
        are.
        """
        if not self.stabilised_grid:
            return self
        known = (("noise_sd", noise_sd),)
        grid = tuple(point + known for point in self.stabilised_grid)
        return replace(self, grid=grid, stabilised_grid=())


@dataclass(frozen=True, slots=True)
class Searched:
    """What a grid search found.

    Attributes
    ----------
    parameters
        Those of the highest mean PSNR; the first of equals.
    estimates
        (Y, X) float32 of every image, ADU, filtered with these parameters.
    psnr_by_parameters
        All parameters tried with the mean PSNR (dB) over the images searched on.
    cpu_seconds_per_megapixel
        Of the best parameters, over all images.
    """

    parameters: Parameters
    estimates: list[NDArray[np.float32]]
    psnr_by_parameters: list[tuple[Parameters, float]]
    cpu_seconds_per_megapixel: float


def grid_search(
    method: Filter,
    noisy: Sequence[NDArray],
    truth: Sequence[NDArray],
    *,
    data_range: float | None = None,
    search_on: Sequence[int] | None = None,
) -> Searched:
    """Filter images with the parameters of highest mean PSNR, the truth being known.

    An oracle, as in the papers: no user has the truth to choose by, so the result
    favours the baseline.

    Parameters
    ----------
    method
        Adapted to the noisy images first (`Filter.adapted_to`).
    noisy, truth
        (Y, X) each, ADU; shapes may differ between images.
    data_range
        Peak of the PSNR in ADU; None takes max - min of each image's truth.
    search_on
        Indices of the images that choose the parameters; None takes all. All images
        are filtered with the choice.

    Raises
    ------
    ValueError  If there are not as many truths as noisy images, or none to search on.
    """
    if len(noisy) != len(truth):
        raise ValueError(
            f"There are {len(noisy)} noisy images but {len(truth)} truths. Give the "
            "truth of each image."
        )
    chosen = range(len(noisy)) if search_on is None else search_on
    if not chosen:
        raise ValueError("There is no image to search on. Name at least one.")
    method = method.adapted_to(noisy)
    scores = [
        statistics.fmean(
            psnr(method.apply(noisy[i], point), truth[i], data_range).mean
            for i in chosen
        )
        for point in method.grid
    ]
    best = method.grid[int(np.argmax(scores))]
    start = cpu_seconds()
    estimates = [method.apply(image, best) for image in noisy]
    megapixels = sum(image.size for image in estimates) / 1e6
    return Searched(
        parameters=best,
        estimates=estimates,
        psnr_by_parameters=list(zip(method.grid, scores, strict=True)),
        cpu_seconds_per_megapixel=(cpu_seconds() - start) / megapixels,
    )


def shown(parameters: Parameters) -> str:
    """Parameters for a table: "size 5" or "strength 1.25, gain 12.49, dark 100.1"."""
    return ", ".join(
        f"{name.replace('_', ' ')} {value:.4g}" for name, value in parameters
    )


def _median(image: Floats, *, size: int) -> Floats:
    return ndimage.median_filter(image, size, mode="reflect")


def _mean(image: Floats, *, size: int) -> Floats:
    return ndimage.uniform_filter(image, size, mode="reflect")


def _gaussian(image: Floats, *, sigma: float) -> Floats:
    return ndimage.gaussian_filter(image, sigma, mode="reflect")


def _bm3d(image: Floats, noise_sd: float, *, strength: float) -> Floats:
    """BM3D (Dabov et al. 2007, Mäkinen et al. 2020) as its authors distribute it."""
    try:
        import bm3d
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "BM3D needs the package 'bm3d', which is for non-commercial use only and "
            "is not installed. Run 'pip install -r benchmarks/requirements.txt', or "
            "leave BM3D out."
        ) from error
    profile = bm3d.BM3DProfile()
    profile.num_threads = 1  # more of them add in varying order
    return bm3d.bm3d(image, strength * noise_sd, profile)


def _non_local_means(
    image: Floats, noise_sd: float, *, strength: float, patch: int, distance: int
) -> Floats:
    """Non-local means (Buades et al. 2005) with h = strength·noise_sd.

    The noise expected between patches is taken off their distance (Darbon et al. 2008).
    """
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(
        image, patch, distance, h=strength * noise_sd, sigma=noise_sd, fast_mode=True
    )


def _of_white_noise(denoise: Callable[..., Floats]) -> Callable[..., Floats]:
    """Give a method for noise of one strength the three ways to that strength."""

    def function(
        image: Floats,
        *,
        noise_sd: float | None = None,
        gain: float | None = None,
        dark: float = 0.0,
        **parameters: float,
    ) -> Floats:
        if gain is not None:
            line = VarianceLine(gain, dark)
            return unstabilise(denoise(stabilise(image, line), 1.0, **parameters), line)
        if noise_sd is None:
            noise_sd = estimate_noise_sd(image)
        return denoise(image, noise_sd, **parameters)

    return function


def _grid(**values: Sequence[int | float]) -> tuple[Parameters, ...]:
    """All combinations of the values of each name."""
    return tuple(
        tuple(zip(values, point, strict=True)) for point in product(*values.values())
    )


_SIZES = (3, 5, 7, 9, 11)
"""Pixels; Krull et al. 2019 try the first three, photon-starved images need more."""

_WINDOWS = {"patch": (5, 7), "distance": (6, 11)}
"""Side of a patch, and how far away patches are compared; pixels."""

FILTERS: dict[str, Filter] = {
    method.name: method
    for method in (
        Filter(
            "bm3d",
            "BM3D",
            _grid(strength=(1.0, 1.4, 2.0)),
            _of_white_noise(_bm3d),
            _grid(strength=(0.9, 1.0, 1.1, 1.25, 1.4, 1.6)),
        ),
        Filter(
            "nlm",
            "non-local means",
            _grid(**_WINDOWS, strength=(0.6, 0.8, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5)),
            _of_white_noise(_non_local_means),
            _grid(**_WINDOWS, strength=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25)),
        ),
        Filter("median", "median", _grid(size=_SIZES), _median),
        Filter("mean", "mean", _grid(size=_SIZES), _mean),
        Filter(
            "gaussian",
            "Gaussian",
            _grid(sigma=(0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, 6)),
            _gaussian,
        ),
    )
}
