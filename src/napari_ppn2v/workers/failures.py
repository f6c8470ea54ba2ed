"""Errors that no check foresaw, in words for the user."""

from __future__ import annotations

from napari_ppn2v.core.memory import is_out_of_memory
from napari_ppn2v.errors import OutOfMemory, PPN2VError, RunFailed


def in_words(error: BaseException) -> PPN2VError:
    """Turn an error that no check foresaw into a message for the user."""
    text = str(error).strip()
    if is_out_of_memory(error):
        return OutOfMemory(
            "Memory ran out, so the run was ended; models trained before are kept. "
            "Close other programs, choose a smaller batch or patch size under "
            "Advanced settings, train on fewer frames, or compute on the processor "
            "(CPU) in place of a GPU."
        )
    first = text.splitlines()[0] if text else "no further details"
    return RunFailed(
        f"The run ended with an unexpected error ({type(error).__name__}: {first}). "
        "Models trained before are kept. Please report it with the settings used; "
        "'Copy as Python' holds them."
    )
