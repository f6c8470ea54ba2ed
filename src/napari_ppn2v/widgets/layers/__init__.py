"""Layers of napari on one side, arrays with axes on the other."""
