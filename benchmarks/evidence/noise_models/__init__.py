"""Noise models on their own: fits to full and reduced calibration, and what they do."""
