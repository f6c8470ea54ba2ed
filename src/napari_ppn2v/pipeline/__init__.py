"""Long jobs built from the numerics: training, fitting, denoising, whole journeys."""
