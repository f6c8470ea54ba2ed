"""Forms that are made from the documented settings of the engine."""
