"""How much of the fine structures of the signal a denoised image holds, without truth.

With Fourier transforms X, F and S of an observation x = s + n, the image f denoised
from it, and the signal s, the part of S that F holds is

    E F S*  =  E F X*  -  E F N*        E |S|²  =  E |X|²  -  var n

The last term of the first is what f takes over from the noise. It is found by
simulation: x' is drawn around f and denoised to f', and x' - f is its noise. All is
averaged over rings of equal spatial frequency, and told where the signal has a fifth to
five times the power of the noise: there it is fine, and still seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Image = NDArray[np.float32]

_LOWEST, _RING = 0.02, 1 / 64  # cycles per pixel
_SEEN = (0.2, 5.0)  # power of the signal over that of the noise


class FineStructures:
    """Sums of power over images of one recording."""

    def __init__(self) -> None:
        edges = np.arange(_LOWEST, 0.5, _RING)
        self._edges = edges
        self._signal = np.zeros(len(edges) - 1)
        self._held = np.zeros(len(edges) - 1)
        self._noise = 0.0

    def add(
        self,
        observation: Image,
        denoised: Image,
        simulated: Image,
        denoised_again: Image,
        variance: Image,
    ) -> None:
        """Add one image.

        Parameters
        ----------
        observation, denoised : x and f, (Y, X), ADU
        simulated, denoised_again : x' drawn around f, and f', ADU
        variance : of x given f, ADU²
        """
        window = np.outer(*(np.hanning(side + 2)[1:-1] for side in observation.shape))
        window /= np.sqrt(np.mean(window**2))

        def transformed(image: Image) -> NDArray[np.complex128]:
            return np.fft.rfft2(window * (image - image.mean(dtype=float)))

        x, f = transformed(observation), transformed(denoised)
        taken_over = transformed(simulated - denoised).conj() * transformed(
            denoised_again
        )
        noise = float((window**2 * variance).mean())
        held = (f * x.conj() - taken_over).real / observation.size
        signal = np.abs(x) ** 2 / observation.size - noise
        self._signal += self._rings(signal, observation.shape)
        self._held += self._rings(held, observation.shape)
        self._noise += noise

    def _rings(self, power: Floats, shape: tuple[int, ...]) -> Floats:
        """Mean over rings of equal frequency."""
        rows, columns = np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1])
        frequency = np.hypot(rows[:, None], columns)
        ring = np.digitize(frequency, self._edges).ravel()
        n_rings = len(self._edges) + 1
        count = np.bincount(ring, minlength=n_rings)
        total = np.bincount(ring, power.ravel(), n_rings)
        return (total / np.maximum(count, 1))[1:-1]

    def held(self) -> float | None:
        """Part of the fine structures that the denoised images hold.

        Returns
        -------
        float or None
            1 where nothing is lost; a little more where the images are too sharp. None
            where no frequency is seen, or no image was added.
        """
        relative = self._signal / self._noise if self._noise > 0 else self._signal
        is_seen = (relative > _SEEN[0]) & (relative < _SEEN[1])
        if not is_seen.any():
            return None
        return float(self._held[is_seen].sum() / self._signal[is_seen].sum())
