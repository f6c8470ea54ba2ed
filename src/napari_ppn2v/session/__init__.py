"""What a viewer's docks share: the state of the run, and the models at hand.

Pure Python: no Qt, no napari, and torch only in type hints.
"""
