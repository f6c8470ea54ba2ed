"""The dock of noise models, and the view that others show, too."""
