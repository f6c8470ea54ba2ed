"""Loading of what jobs need, in their threads."""

from __future__ import annotations

import importlib
import threading

_LOADING = threading.Lock()
_ENGINE = (
    "pipeline.stack_job",
    "pipeline.noise_model_job",
    "pipeline.apply_stacks_job",
    "pipeline.budget",
    "core.noise_models.curves",
)


def load_engine() -> None:
    """Load what jobs need, torch included, by one thread at a time.

    Two threads that import modules which need each other can wait for each other for
    ever; Python then lets one of them fail. It happened where a run began while the
    measurement of its time was still loading.
    """
    with _LOADING:
        for name in _ENGINE:
            importlib.import_module(f"napari_ppn2v.{name}")
