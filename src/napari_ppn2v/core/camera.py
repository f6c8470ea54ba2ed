"""Simulated cameras whose p(x|s) is known exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_ppn2v.core.photon_statistics import (
    Floats,
    gaussian_cell,
    poisson_gamma_log_density,
    poisson_gaussian_log_density,
)
from napari_ppn2v.core.scenes import SCENES, diaphragm
from napari_ppn2v.errors import BadSetting
from napari_ppn2v.settings import check_settings, setting

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_TAIL_STEPS_PER_SD = 24  # midpoint rule; relative error of a tail below 1e-4


@dataclass(frozen=True)
class Camera:
    """A camera without fixed-pattern noise; the signal is E[x] before rounding.

    With lam = (signal - offset) / gain electrons on average:

    - "scmos": x = offset + gain·Poisson(lam) + N(0, read_noise²);
    - "emccd": x = offset + gain·Gamma(Poisson(lam), 1) + N(0, read_noise²), excess
      noise factor 2; the gain is EM gain over conversion factor;
    - "gaussian": x = signal + N(0, gain·(signal - offset) + read_noise²).

    Rounded values are clipped to 0 … 2**bit_depth - 1, so that the first and last
    grey value collect all that lies beyond.
    """

    kind: str = setting(
        "scmos",
        label="Camera type",
        help="sCMOS (Poisson and Gaussian), EMCCD (Poisson-gamma) or Gaussian noise.",
        choices=("scmos", "emccd", "gaussian"),
    )
    gain: float = setting(
        2.2, label="Gain", help="Grey values per electron.", unit="ADU/e-", minimum=1e-6
    )
    offset: float = setting(
        100.0, label="Offset", help="Grey value without light.", unit="ADU"
    )
    read_noise: float = setting(
        3.3,
        label="Read noise",
        help="Standard deviation of the noise without light.",
        unit="ADU",
        minimum=1e-3,
    )
    bit_depth: int = setting(
        16,
        label="Bit depth",
        help="Values are clipped to 0 … 2**bit_depth - 1.",
        unit="bit",
        minimum=1,
        maximum=16,
    )
    rounded: bool = setting(
        True,
        label="Whole grey values",
        help="Round and clip like a camera; otherwise return unlimited float32 values.",
    )

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def limits(self) -> tuple[float | None, float | None]:
        """Lowest and highest grey value; (None, None) without rounding."""
        return (0.0, 2.0**self.bit_depth - 1) if self.rounded else (None, None)

    def moments(self, signal: ArrayLike) -> tuple[Floats, Floats]:
        """Mean (ADU) and variance (ADU²), rounding included, clipping left out."""
        mean = np.asarray(signal, float)
        if self.kind != "gaussian":
            mean = np.maximum(mean, self.offset)
        excess = 2.0 if self.kind == "emccd" else 1.0
        photons = excess * self.gain * np.maximum(mean - self.offset, 0)
        return mean, photons + self.read_noise**2 + (1 / 12 if self.rounded else 0)

    def expose(self, signal: ArrayLike, rng: np.random.Generator) -> NDArray:
        """Take one independent noisy exposure of a clean signal (ADU).

        Returns an array of the signal's shape: uint8 up to 8 bit, uint16 up to 16
        bit, float32 where the camera does not round.
        """
        signal = np.asarray(signal, float)
        electrons = np.maximum(signal - self.offset, 0) / self.gain
        if self.kind == "gaussian":
            photon_sd = self.gain * np.sqrt(electrons)
            value = signal + rng.normal(size=signal.shape) * photon_sd
        else:
            charge = rng.poisson(electrons).astype(float)
            if self.kind == "emccd":
                charge = rng.standard_gamma(charge)  # of shape 0 is exactly 0
            value = self.offset + self.gain * charge
        value = value + rng.normal(0, self.read_noise, signal.shape)
        if not self.rounded:
            return value.astype(np.float32)
        dtype = np.uint8 if self.bit_depth <= 8 else np.uint16
        return np.clip(np.rint(value), 0, 2**self.bit_depth - 1).astype(dtype)

    def log_probability(self, observation: ArrayLike, signal: ArrayLike) -> Floats:
        """Exact log p(x|s): of the grey value x, or of the density where not rounded.

        The arguments broadcast; the result is float64. At the limits it is the log
        of the probability of the limit and all beyond, -inf outside of them.
        """
        x, s = np.broadcast_arrays(
            np.asarray(observation, float), np.asarray(signal, float)
        )
        result = self._log_density(x, s)
        low, high = self.limits
        if low is None or high is None:
            return result
        result = np.where((x < low) | (x > high), -np.inf, result)
        for limit, beyond in ((low, -1), (high, 1)):
            at_limit = x == limit
            for value in np.unique(s[at_limit]):
                tail = self._log_tail(float(value), limit, beyond)
                result = np.where(at_limit & (s == value), tail, result)
        return result

    def pmf(self, observation: ArrayLike, signal: ArrayLike) -> Floats:
        """Probability of each grey value; see `log_probability`."""
        return np.exp(self.log_probability(observation, signal))

    def _log_density(self, observation: Floats, signal: Floats) -> Floats:
        cell = 1.0 if self.rounded else 0.0
        if self.kind == "gaussian":
            photons = self.gain * np.maximum(signal - self.offset, 0)
            sd = np.sqrt(photons + self.read_noise**2)
            return gaussian_cell(observation - signal, sd, cell)
        density = (
            poisson_gamma_log_density
            if self.kind == "emccd"
            else poisson_gaussian_log_density
        )
        return density(
            observation,
            signal,
            gain=self.gain,
            offset=self.offset,
            read_noise=self.read_noise,
            cell=cell,
        )

    def _log_tail(self, signal: float, limit: float, beyond: int) -> float:
        """Log probability of `limit` and everything further out in direction ±1."""
        mean, variance = (float(v) for v in self.moments(signal))
        sd = variance**0.5
        step = max(1.0, sd / _TAIL_STEPS_PER_SD)
        edge = limit - 0.5 * beyond
        count = int((abs(mean - limit) + 16 * sd) / step) + 60
        values = edge + beyond * step * (np.arange(count) + 0.5)
        log_density = self._log_density(values, np.asarray(signal))
        return min(float(np.logaddexp.reduce(log_density) + np.log(step)), 0.0)


@dataclass(frozen=True)
class SimulatedStack:
    """Noisy frames with their truth.

    observation
        (N, Y, X), the camera's integer type.
    signal
        (N, Y, X) or, for a calibration, (Y, X); float32, ADU.
    """

    camera: Camera
    observation: NDArray
    signal: NDArray[np.float32]


def simulate_stack(
    camera: Camera,
    *,
    n_frames: int,
    size: int | tuple[int, int],
    peak_electrons: float | None = None,
    psnr: float | None = None,
    seed: int = 0,
) -> SimulatedStack:
    """Simulate frames of filaments, nuclei and puncta, a new scene in each frame.

    Parameters
    ----------
    camera
        What exposes the scenes.
    n_frames, size
        Number of frames; side in pixels, or (Y, X).
    peak_electrons
        Electrons at the brightest pixel. Give this or `psnr`.
    psnr
        Peak signal to noise ratio of each noisy frame in dB, with the range of its
        signal as the peak.
    seed
        Same seed, same stack.

    Raises
    ------
    BadSetting  If both or neither of `peak_electrons` and `psnr` are given.
    """
    if (peak_electrons is None) == (psnr is None):
        raise BadSetting(
            "The brightness of the simulation is given "
            f"{'twice' if psnr is not None else 'not at all'}. "
            "Give either 'peak_electrons' or 'psnr'."
        )
    rng = np.random.default_rng(seed)
    shape = (size, size) if isinstance(size, int) else size
    names = list(SCENES)
    signals, observations = [], []
    for index in range(n_frames):
        scene = SCENES[names[index % len(names)]](shape, rng)
        peak = peak_electrons or _electrons_for_psnr(scene, camera, float(psnr or 0))
        signal = (camera.offset + camera.gain * peak * scene).astype(np.float32)
        signals.append(signal)
        observations.append(camera.expose(signal, rng))
    return SimulatedStack(camera, np.stack(observations), np.stack(signals))


def simulate_calibration(
    camera: Camera,
    *,
    n_repeats: int,
    size: int | tuple[int, int],
    peak_electrons: float,
    seed: int = 0,
) -> SimulatedStack:
    """Simulate repeats of a defocused field diaphragm, from dark to the peak.

    Returns the repeats (N, Y, X) with their common signal (Y, X).
    """
    rng = np.random.default_rng(seed)
    shape = (size, size) if isinstance(size, int) else size
    light = camera.gain * peak_electrons * diaphragm(shape)
    signal = (camera.offset + light).astype(np.float32)
    repeats = np.stack([camera.expose(signal, rng) for _ in range(n_repeats)])
    return SimulatedStack(camera, repeats, signal)


def _electrons_for_psnr(scene: Floats, camera: Camera, psnr: float) -> float:
    """Peak electrons at which range² over mean variance gives `psnr`, by bisection."""
    low, high = np.log(1e-3), np.log(1e6)
    for _ in range(60):
        middle = 0.5 * (low + high)
        signal = camera.offset + camera.gain * np.exp(middle) * scene
        variance = camera.moments(signal)[1].mean()
        reached = 10 * np.log10(np.ptp(signal) ** 2 / variance)
        low, high = (middle, high) if reached < psnr else (low, middle)
    return float(np.exp(low))
