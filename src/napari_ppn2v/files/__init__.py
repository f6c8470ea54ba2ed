"""Reading and writing: images, noise models, trained models."""
