"""The sections of the dock that denoises: image, noise model, time, results."""
