"""What all pages on noise models say in the same words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evidence.ledger import Row

LABELS = {
    "w2s": "W2S (EMCCD, real)",
    "bright": "bright (sCMOS, simulated)",
    "lanl_emccd": "uniform light (EMCCD, real)",
    "simulated": "simulated microscopy",
    "small": "small simulation, for a try",
}

HOW = (
    "**Likelihood.** NLL is the mean negative log-likelihood of held-out pairs of "
    "noise-free signal and observation, in nats per pixel, as a density per ADU, so "
    "that all kinds of noise model can be compared; lower is better. Every pair comes "
    "from an image that no pair of the fit comes from: folds are fields of view (for "
    "uniform light: quarters of the time), ± is the standard error over the four "
    "folds. NLL differs much between folds, because bright pixels are noisier; "
    "differences are therefore paired by fold. A pixel is *impossible* where the model "
    "gives it a density below 1e-28 per ADU: an empty bin of the published histogram "
    "counts as 1e-30, and so enters its mean as 69 nats.\n\n"
    "**Noise models.** *Calibrated*: from pairs of ground truth and observation of the "
    "other folds (W2S), or from 100 repeats of a simulated diaphragm (bright), "
    "nothing trimmed. *Bootstrapped*: from Noise2Void's pseudo ground truth of the "
    "images of the other folds, 0.5 % of the signals trimmed at either end; held-out "
    "pairs have the true signal in both cases. Signals at which more than 2 % of the "
    "observations are clipped are left out of every fit. *Histogram, as published*: "
    "256 x 256 bins over the range of the data, empty ones left empty. *Histogram, "
    "ours*: bins that follow the noise, empty ones filled. *Camera, ours*: Poisson "
    "noise with what the EMCCD or sCMOS adds.\n\n"
    "**PSNR**, of rows and columns 160 to 352 of every image of a fold, peak: range of "
    "its truth. *Posterior mean*: one prior for all noise models, trained once with "
    "the mixture that is bootstrapped from the noisy images; blind estimate with each "
    "noise model. It shows what a noise model does at inference, without the chance of "
    "a training, and leaves out what it does to the training. After a short training "
    "the prior is wider than its errors in dark regions; a noise model that is too "
    "broad, such as a histogram of coarse bins, makes up for it and gains up to about "
    "0.1 dB for the wrong reason. *Refined*: "
    "the network of Noise2Void taught in one round with observations drawn from each "
    "noise model, our default; of fold 0 alone unless ± is given. Both use "
    "the fits whose likelihood is shown."
)


def data_set_labels(rows: Sequence[Row]) -> dict[str, str]:
    """Return the data sets of the rows with their labels."""
    present = {row["data set"] for row in rows}
    return {name: label for name, label in LABELS.items() if name in present}


def steps_sentence(rows: Sequence[Row]) -> str:
    """Say how long was trained."""
    n_repeats = len({row["repeat"] for row in rows})
    return (
        f"**Reduced here:** a U-Net with 16 filters, optimizer steps: "
        f"{rows[-1]['steps']} (a published training has 1000 of larger batches, 64 "
        f"filters, and 5 repeats); repeats with other seeds: {n_repeats}. The fits "
        "of the noise models are not reduced."
    )
