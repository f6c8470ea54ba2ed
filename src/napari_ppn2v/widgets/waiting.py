"""Wait for something slow without freezing the window."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import napari
from napari.utils import cancelable_progress
from napari.utils.notifications import show_info
from qtpy.QtCore import QCoreApplication, QEventLoop, QThread, QTimer

from napari_ppn2v.errors import CannotDownload
from napari_ppn2v.files.downloads import Amount

_POLL_MILLISECONDS = 100


def wait_for(job: Callable[[Amount], Any], *, title: str) -> Any:
    """Run a job beside the window and return its result once it is there.

    napari calls what opens a sample on the thread of the window and expects the layers
    as its answer, so a plain thread worker comes too late and a plain call freezes
    everything. Meanwhile the window goes on with its own work here; napari's activity
    dock shows how far the job is and has a button to stop it.

    Parameters
    ----------
    job
        Called with the `Amount` that it keeps up to date, and whose stop it obeys.
    title
        Shown beside the progress bar.

    Raises
    ------
    CannotDownload  If it was cancelled, or the viewer closed.
    Whatever the job raises.
    """
    application = QCoreApplication.instance()
    if application is None or QThread.currentThread() is not application.thread():
        return job(Amount())
    show_info(f"{title}. The activity button at the lower right shows how far it is.")
    amount = Amount()
    pool = ThreadPoolExecutor(1, thread_name_prefix="download")
    future = pool.submit(job, amount)
    # Not waited for at the end: a server that says nothing would hold up the window.
    pool.shutdown(wait=False)
    _stay_alive_until(future, _Bar(title, amount))
    amount.stop.stop()
    if not future.done():
        raise CannotDownload("The download was stopped. Nothing of it was kept.")
    return future.result()


def _stay_alive_until(future: Future[Any], bar: "_Bar") -> None:
    """Handle the window's events until the job is done, or nobody wants it any more."""
    loop, timer = QEventLoop(), QTimer()
    had_viewer = napari.current_viewer() is not None  # scripts can have none

    def look() -> None:
        bar.show()
        is_closed = had_viewer and napari.current_viewer() is None
        if future.done() or bar.is_canceled or is_closed:
            loop.quit()

    timer.timeout.connect(look)
    timer.start(_POLL_MILLISECONDS)
    try:
        loop.exec()
    finally:
        timer.stop()
        bar.close()


class _Bar:
    """Progress of a download in napari's activity dock, in megabytes."""

    def __init__(self, title: str, amount: Amount) -> None:
        self._amount = amount
        self._bar = cancelable_progress(total=0, desc=title, unit="MB")

    @property
    def is_canceled(self) -> bool:
        """Whether the button to cancel was pressed."""
        return bool(self._bar.is_canceled)

    def show(self) -> None:
        """Bring the bar up to what has arrived."""
        if self._amount.total is not None and not self._bar.total:
            self._bar.total = round(self._amount.total / 1e6)
        self._bar.update(round(self._amount.done / 1e6) - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
