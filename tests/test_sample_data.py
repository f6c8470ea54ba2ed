"""Samples of the viewer, the downloads against a real server on this computer."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_ppn2v import sample_data
from napari_ppn2v.errors import Busy, CannotDownload, CannotWrite
from napari_ppn2v.files import downloads
from napari_ppn2v.files.downloads import RECORD, Amount, Archive, fetch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOISY, CALIBRATION = "noisy.tif", "calibration.tif"


def tiff(value: int, n_frames: int) -> bytes:
    stack = np.random.default_rng(value).poisson(value, (n_frames, 64, 64))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, stack.astype(np.uint16))
    return buffer.getvalue()


def archive_of(value: int = 100) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(f"Some folder/{NOISY}", tiff(value, 5))
        opened.writestr(f"Some folder/{CALIBRATION}", tiff(2 * value, 7))
        opened.writestr(f"__MACOSX/Some folder/{NOISY}", b"not an image")
        opened.writestr("Some folder/notes.txt", b"unasked for")
    return buffer.getvalue()


class Server:
    """Serves one archive; how badly, the tests decide."""

    def __init__(self) -> None:
        self.content = archive_of()
        self.claimed_bytes: int | None = None
        self.seconds_per_piece = 0.0
        self.n_requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                """Keep the test output readable."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/files/set.zip?download=1"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.n_requests += 1
        request.send_response(200)
        n_bytes = self.claimed_bytes or len(self.content)
        request.send_header("Content-Length", str(n_bytes))
        request.end_headers()
        pieces = 20 if self.seconds_per_piece else 1
        step = -(-len(self.content) // pieces)
        try:
            for start in range(0, len(self.content), step):
                request.wfile.write(self.content[start : start + step])
                request.wfile.flush()
                time.sleep(self.seconds_per_piece)
        except OSError:
            return  # the other side has hung up, as some tests want it to

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def archive(server) -> Archive:
    return Archive(server.url, (NOISY, CALIBRATION))


@pytest.fixture
def data_set(server, archive, monkeypatch, tmp_path) -> Iterator[Path]:
    """The first of the published sets, as if it lay on this computer."""
    real = sample_data.DATA_SETS["convallaria"]
    here = {**sample_data.DATA_SETS, "convallaria": replace(real, archive=archive)}
    monkeypatch.setattr(sample_data, "DATA_SETS", here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "cache"))
    return sample_data.data_folder("convallaria")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def md5(content: bytes) -> str:
    return "md5:" + hashlib.md5(content, usedforsecurity=False).hexdigest()


def test_the_simulated_stack_comes_with_calibration_and_truth():
    truth, calibration, recording = sample_data.simulated_emccd()
    assert [layer[1]["name"] for layer in (recording, calibration, truth)] == [
        "EMCCD recording",
        "EMCCD calibration",
        "EMCCD truth",
    ]
    assert recording[1]["visible"]
    assert not calibration[1]["visible"]
    assert not truth[1]["visible"]
    assert recording[0].shape == truth[0].shape == calibration[0].shape
    assert recording[1]["units"] == ("pixel", "µm", "µm")


def test_the_calibration_covers_the_signal_of_the_simulated_stack():
    truth, calibration, _ = (layer[0] for layer in sample_data.simulated_emccd())
    signal = calibration.mean(axis=0)
    assert signal.min() <= truth.min() * 1.1
    assert signal.max() >= truth.max()


def test_the_simulated_stack_is_the_same_each_time_and_quick():
    start = time.thread_time()
    first = sample_data.simulated_emccd()
    assert time.thread_time() - start < 5  # 0.7 s is usual
    for one, other in zip(first, sample_data.simulated_emccd(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])


def test_the_recording_of_microtubules_comes_with_its_licence():
    ((data, attributes, kind),) = sample_data.tirf_scmos()
    assert kind == "image"
    assert data.shape == (20, 256, 256)
    assert data.dtype == np.uint16
    assert attributes["scale"] == (1.0, 0.065, 0.065)
    assert "BSD 3-Clause" in attributes["metadata"]["description"]
    licence = sample_data.SAMPLES / "LICENSE-tirf_scmos.txt"
    assert "Copyright (c) 2019, Biagio Mandracchia" in licence.read_text("utf-8")


def test_a_download_keeps_the_wanted_files_and_a_record_alone(archive, tmp_path):
    noisy, calibration = fetch(archive, tmp_path / "set")
    assert tifffile.imread(noisy).shape == (5, 64, 64)
    assert tifffile.imread(calibration).shape == (7, 64, 64)
    assert names_in(tmp_path / "set") == {NOISY, CALIBRATION, RECORD}


def test_what_is_there_is_not_downloaded_again(server, archive, tmp_path):
    first = fetch(archive, tmp_path)
    assert fetch(archive, tmp_path) == first
    assert server.n_requests == 1


def test_a_file_that_was_cut_short_is_fetched_again(server, archive, tmp_path):
    noisy, _ = fetch(archive, tmp_path)
    content = noisy.read_bytes()
    noisy.write_bytes(content[:100])
    fetch(archive, tmp_path)
    assert server.n_requests == 2
    assert noisy.read_bytes() == content


def test_progress_ends_at_the_size_of_the_archive(server, archive, tmp_path):
    amount = Amount()
    fetch(archive, tmp_path, amount)
    assert amount.done == amount.total == len(server.content)


def test_a_known_checksum_is_kept_to(server, archive, tmp_path):
    fetch(replace(archive, checksum=md5(server.content)), tmp_path)
    with pytest.raises(CannotDownload, match="checksum"):
        fetch(replace(archive, checksum=md5(b"another")), tmp_path / "other")
    assert names_in(tmp_path / "other") == set()


def test_the_checksum_of_the_first_download_holds_from_then_on(
    server, archive, tmp_path
):
    noisy, _ = fetch(archive, tmp_path)
    recorded = json.loads((tmp_path / RECORD).read_text("utf-8"))["checksum"]
    assert recorded == f"sha256:{hashlib.sha256(server.content).hexdigest()}"
    noisy.unlink()
    server.content = archive_of(value=120)
    with pytest.raises(CannotDownload, match="another one now"):
        fetch(archive, tmp_path)
    assert names_in(tmp_path) == {CALIBRATION, RECORD}


def test_a_connection_that_breaks_off_leaves_nothing(server, archive, tmp_path):
    server.claimed_bytes = 2 * len(server.content)
    with pytest.raises(CannotDownload, match="broke off"):
        fetch(archive, tmp_path)
    assert names_in(tmp_path) == set()


def test_without_a_connection_the_message_says_what_to_check(server, archive, tmp_path):
    server.close()
    with pytest.raises(CannotDownload, match="connected to the internet"):
        fetch(archive, tmp_path)
    assert names_in(tmp_path) == set()


def test_an_answer_that_is_no_archive_is_refused(server, archive, tmp_path):
    server.content = b"<html>please log in</html>"
    with pytest.raises(CannotDownload, match="no zip archive"):
        fetch(archive, tmp_path)
    assert NOISY not in names_in(tmp_path)


def test_an_archive_without_the_wanted_files_is_refused(server, archive, tmp_path):
    wanted = replace(archive, members=(NOISY, "missing.tif"))
    with pytest.raises(CannotDownload, match=r"missing\.tif"):
        fetch(wanted, tmp_path)


@pytest.mark.parametrize("said_by", ["us", "the server"])
def test_a_full_drive_is_told_before_the_download(
    server, archive, tmp_path, said_by, monkeypatch
):
    huge = 10**18
    if said_by == "us":
        archive = replace(archive, n_bytes=huge)
    else:
        server.claimed_bytes = huge
    with pytest.raises(CannotWrite, match=r"needs 1000000000\.0 GB, but only"):
        fetch(archive, tmp_path)
    assert names_in(tmp_path) == set()


def test_a_stop_ends_a_download_and_keeps_nothing(
    server, archive, tmp_path, monkeypatch
):
    monkeypatch.setattr(downloads, "_CHUNK", 1024)
    server.seconds_per_piece = 0.02
    amount = Amount()
    threading.Timer(0.1, amount.stop.stop).start()
    with pytest.raises(CannotDownload, match="stopped"):
        fetch(archive, tmp_path, amount)
    assert names_in(tmp_path) == set()


def test_addresses_of_the_published_sets_name_their_records():
    for data_set in sample_data.DATA_SETS.values():
        record = data_set.archive.url.split("/")[4]
        assert data_set.reference.endswith(f"zenodo.{record}")
        assert len(data_set.archive.members) == 2


def test_a_downloaded_set_opens_as_two_layers_read_when_looked_at(data_set):
    calibration, noisy = sample_data.open_data_set("convallaria")
    assert noisy[1]["name"] == "Convallaria"
    assert calibration[1]["name"] == "Convallaria, calibration"
    assert [noisy[1]["visible"], calibration[1]["visible"]] == [True, False]
    assert noisy[0].chunksize == (1, 64, 64)
    assert noisy[1]["axis_labels"] == ("t", "y", "x")
    frame = np.asarray(noisy[0][2])
    np.testing.assert_array_equal(frame, tifffile.imread(data_set / NOISY)[2])


def test_a_script_with_a_window_but_no_viewer_gets_its_download(server, data_set, qapp):
    server.seconds_per_piece = (
        0.03  # longer than it is looked whether a viewer is there
    )
    layers = sample_data.open_data_set("convallaria")
    assert [layer[1]["name"] for layer in layers] == [
        "Convallaria, calibration",
        "Convallaria",
    ]


def test_the_window_lives_on_during_a_download(
    server, data_set, viewer_rig, make_napari_viewer, slowdown
):
    from qtpy.QtCore import QTimer

    server.seconds_per_piece = 0.03  # 0.6 s in all
    viewer = make_napari_viewer()
    ticks: list[float] = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start(10)
    layers = viewer.open_sample("napari-ppn2v", "convallaria")
    timer.stop()
    assert [layer.name for layer in layers] == [
        "Convallaria, calibration",
        "Convallaria",
    ]
    assert len(ticks) > 15
    assert np.diff(ticks).max() < 0.5 * slowdown


def test_cancelling_in_the_activity_dock_ends_a_download(
    server, data_set, viewer_rig, make_napari_viewer, slowdown
):
    from napari.utils import progress
    from qtpy.QtCore import QTimer

    server.seconds_per_piece = 0.2
    viewer = make_napari_viewer()

    def cancel() -> None:
        for bar in list(progress._all_instances):
            bar.cancel()

    QTimer.singleShot(300, cancel)
    start = time.perf_counter()
    with pytest.raises(CannotDownload, match="stopped"):
        viewer.open_sample("napari-ppn2v", "convallaria")
    assert time.perf_counter() - start < 2 * slowdown
    assert not viewer.layers


def test_the_same_set_is_not_downloaded_twice_at_once(
    server, data_set, viewer_rig, make_napari_viewer
):
    from qtpy.QtCore import QTimer

    server.seconds_per_piece = 0.03
    viewer = make_napari_viewer()
    seen: list[Exception] = []

    def open_again() -> None:
        try:
            viewer.open_sample("napari-ppn2v", "convallaria")
        except Busy as error:
            seen.append(error)

    QTimer.singleShot(150, open_again)
    viewer.open_sample("napari-ppn2v", "convallaria")
    assert len(seen) == 1
    assert len(viewer.layers) == 2


def test_every_sample_of_the_manifest_opens_by_its_name(
    data_set, viewer_rig, make_napari_viewer
):
    viewer = make_napari_viewer()
    for key, n_layers in [("simulated_emccd", 3), ("tirf_scmos", 1)]:
        assert len(viewer.open_sample("napari-ppn2v", key)) == n_layers
