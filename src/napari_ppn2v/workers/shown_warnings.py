"""Who shows the warnings of Python, which workers change."""

from __future__ import annotations

import warnings
from typing import Any


class ShownWarnings:
    """Has warnings shown after all runs as before them.

    A worker shows those of its thread by a function of its own, and puts back the one
    it has found. Where two overlap that is the other worker's, which would be kept
    with all it holds, and be asked to show warnings for ever.
    """

    def __init__(self) -> None:
        self._before: tuple[Any, Any] | None = None

    def remember(self) -> None:
        """Take note before the first of the workers begins."""
        if not self._are_a_workers():
            self._before = warnings.showwarning, warnings.filters

    def restore(self) -> None:
        """Put back after the last one has ended."""
        if self._are_a_workers() and self._before is not None:
            warnings.showwarning, warnings.filters = self._before

    @staticmethod
    def _are_a_workers() -> bool:
        return str(warnings.showwarning.__module__).startswith("superqt")
