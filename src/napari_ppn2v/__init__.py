"""Denoise microscopy images without clean data (Probabilistic Noise2Void)."""

__version__ = "0.1.0"
