"""The numerics: no Qt, no napari, no files."""
