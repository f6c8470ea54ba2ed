"""What the noise says about the camera, in a few lines below the quality of a fit."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_ppn2v.core.camera_readout import CONVENTION
from napari_ppn2v.errors import PPN2VError
from napari_ppn2v.session.session import Session
from napari_ppn2v.widgets.parts.basics import WrappedLabel
from napari_ppn2v.workers import launch

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari_ppn2v.core.camera_readout import CameraReadout, KnownCamera
    from napari_ppn2v.core.pair_histogram import PairHistogram
    from napari_ppn2v.events import Event
    from napari_ppn2v.session.session import NamedNoiseModel
    from napari_ppn2v.stop import StopToken
    from napari_ppn2v.workers import Run

QUIET_MS = 400  # without another model before its camera is read
_CAMERAS = {1.0: "1 (sCMOS or CCD)", 2.0: "2 (EMCCD)"}
_ESTIMATED = (
    "The pairs were estimated from the noisy image itself; those of a calibration "
    "recording tell the camera better."
)


class CameraCard(QWidget):
    """Reads the camera of a model in the background, once for each model and pairs.

    Hidden while there is no model.
    """

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._busy_with = session
        self._wanted: _Wanted | None = None
        self._known: dict[tuple[int, int, KnownCamera], _Read] = {}
        self._run: Run | None = None
        self.readout: CameraReadout | None = None
        self.lines, self.notes = WrappedLabel(), WrappedLabel()
        self.lines.setTextFormat(Qt.TextFormat.RichText)
        self.lines.setToolTip(f"<qt>{html.escape(CONVENTION)}</qt>")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self.lines)
        column.addWidget(self.notes)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(QUIET_MS)
        self._timer.timeout.connect(self._read)
        self.hide()

    def show_model(
        self, named: NamedNoiseModel, pairs: PairHistogram | None, known: KnownCamera
    ) -> None:
        """Read the camera of a model.

        Parameters
        ----------
        pairs : that the model is judged by; None reads the camera from the model alone
        known : what the user has said of the camera
        """
        wanted = _Wanted(named, pairs, known)
        if self._wanted is not None and wanted.key == self._wanted.key:
            return
        self.cancel()
        self._wanted = wanted
        self.setVisible(True)
        read = self._known.get(wanted.key)
        if read is not None:
            self._show(read)
            return
        self.readout = None
        self._say("Reading the camera from the noise …")
        self._timer.start()

    def cancel(self) -> None:
        """Read no more."""
        self._timer.stop()
        self._wanted = None
        if self._run is not None:
            self._run.abandon()
            self._run = None

    def _say(self, text: str) -> None:
        self.lines.setText(html.escape(text))
        self.notes.hide()

    def _read(self) -> None:
        wanted = self._wanted
        if wanted is None:
            return
        if self._busy_with.is_busy:  # a fit goes first
            self._timer.start()
            return

        def done(readout: CameraReadout | None) -> None:
            if readout is not None and self._wanted is wanted:
                read = _Read(wanted, readout)
                self._known[wanted.key] = read
                self._show(read)

        def failed(error: PPN2VError) -> None:
            if self._wanted is wanted:
                self._say(f"The camera cannot be told. {error}")

        self._run = launch(
            Session(),
            wanted.job,
            title="Reading the camera",
            on_done=done,
            on_failed=failed,
            is_quiet=True,
        )

    def _show(self, read: _Read) -> None:
        self.readout = read.readout
        self.lines.setText(camera_table(read.readout))
        notes = list(read.readout.notes)
        if read.wanted.is_estimated:
            notes.append(_ESTIMATED)
        self.notes.setText("\n".join(f"• {note}" for note in notes))
        self.notes.setVisible(bool(notes))


class _Wanted:
    """A model whose camera is to be read; kept alive, since it is known by number."""

    def __init__(
        self, named: NamedNoiseModel, pairs: PairHistogram | None, known: KnownCamera
    ) -> None:
        self.named, self.pairs, self.known = named, pairs, known
        self.key = (id(named.model), id(pairs), known)
        self.is_estimated = pairs is not None and named.origin.startswith(
            ("estimate", "bootstrap")
        )

    def job(self, stop: StopToken) -> Generator[Event, None, CameraReadout | None]:
        """Read the camera; None if stopped."""
        from napari_ppn2v.core.camera_readout import readout_of_model, readout_of_pairs

        if self.pairs is None:
            return readout_of_model(self.named.model, self.known)
        steps = readout_of_pairs(self.pairs, self.known)
        while not stop.is_stopped:
            try:
                yield next(steps)
            except StopIteration as end:
                readout: CameraReadout = end.value
                return readout
        return None


class _Read:
    """What was read of which model."""

    def __init__(self, wanted: _Wanted, readout: CameraReadout) -> None:
        self.wanted, self.readout = wanted, readout


def camera_table(readout: CameraReadout) -> str:
    """Write the readout as rows of name and value, as rich text."""
    rows = "".join(
        f"<tr><td>{name}&nbsp;&nbsp;</td><td>{value}</td></tr>"
        for name, value in camera_rows(readout)
    )
    return f"<b>The camera, as its noise tells it</b><table>{rows}</table>"


def camera_rows(readout: CameraReadout) -> list[tuple[str, str]]:
    """Name and value of each number; what is not told says so."""
    factor, noise = readout.excess_noise_factor, _told(readout.read_noise)
    electrons = readout.read_noise_electrons
    if noise and electrons is not None:
        noise += f" grey values = {electrons:.2g} electrons"
    gain = f"{_told(readout.gain)} grey values per electron"
    if readout.gain is None:
        slope = readout.slope.value
        gain = f"{slope:.3g} (sCMOS, CCD) or {slope / 2:.3g} (EMCCD) per electron"
    offset = _told(readout.offset)
    return [
        ("Gain", gain),
        ("Offset", f"{offset} grey values" if offset else "not told"),
        ("Read noise", noise or "not told"),
        (
            "Excess noise factor",
            "not told" if factor is None else _CAMERAS.get(factor, f"{factor:g}"),
        ),
    ]


def _told(value: Any) -> str:
    return "" if value is None else html.escape(str(value))
