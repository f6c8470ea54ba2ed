"""Python scripts on the clipboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QApplication

from napari_ppn2v.errors import PPN2VError

if TYPE_CHECKING:
    from collections.abc import Callable


def copy_script(written: Callable[[], str]) -> None:
    """Put a script on the clipboard and say so; what goes wrong is shown.

    Parameters
    ----------
    written : returns the script, or raises PPN2VError
    """
    clipboard = QApplication.clipboard()
    if clipboard is None:
        return
    try:
        clipboard.setText(written())
    except PPN2VError as error:
        show_error(str(error))
        return
    show_info("The Python script is on the clipboard.")
