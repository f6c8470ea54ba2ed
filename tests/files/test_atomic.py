"""Files appear under their final name complete or not at all."""

from __future__ import annotations

import errno
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_ppn2v.errors import CannotWrite
from napari_ppn2v.files import atomic, leftovers
from napari_ppn2v.files.atomic import (
    atomic_path,
    write_arrays_atomically,
    write_json_atomically,
    write_text_atomically,
)
from napari_ppn2v.files.leftovers import remove_leftovers


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def interrupted_write(final, error):
    with atomic_path(final) as path:
        path.write_text("half")
        raise error


def test_a_file_appears_only_at_the_end(tmp_path):
    final = tmp_path / "a.ome.tif"
    with atomic_path(final) as path:
        assert path.parent == tmp_path
        assert path.name.endswith(".ome.tif")
        path.write_text("new")
        assert not final.exists()
    assert final.read_text() == "new"
    assert names(tmp_path) == ["a.ome.tif"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_interruption_keeps_the_older_file_and_leaves_nothing_else(tmp_path, error):
    final = tmp_path / "a.txt"
    final.write_text("old")
    with pytest.raises(error):
        interrupted_write(final, error)
    assert final.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "read-only"),
        (errno.EIO, "could not be written"),
    ],
)
def test_errors_of_the_system_are_explained(tmp_path, number, message):
    with pytest.raises(CannotWrite, match=message):
        interrupted_write(tmp_path / "a", OSError(number, "from the system"))
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_not_ours_to_explain(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        Path(tmp_path / "input").read_text()


def test_a_missing_folder_is_named(tmp_path):
    with (
        pytest.raises(CannotWrite, match="there is no folder"),
        atomic_path(tmp_path / "b" / "a"),
    ):
        pass


def test_a_name_that_is_too_long_is_explained(tmp_path):
    with (
        pytest.raises(CannotWrite, match="could not be written: File name too long"),
        atomic_path(tmp_path / ("n" * 300)),
    ):
        pass


def test_a_read_only_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    # root may write everywhere, so the answer of the system is replaced
    monkeypatch.setattr(atomic.os, "access", lambda *_: False)
    with pytest.raises(CannotWrite, match="read-only"), atomic_path(tmp_path / "a"):
        pytest.fail("the block must not run")


def test_too_little_space_is_refused_before_the_work(tmp_path):
    with (
        pytest.raises(CannotWrite, match=r"needs 1000000000\.0 GB, but only"),
        atomic_path(tmp_path / "a", needed_bytes=10**18),
    ):
        pytest.fail("the block must not run")


class TestFolders:
    def write(self, final, text):
        with atomic_path(final, folder_marker="zarr.json") as path:
            path.mkdir()
            (path / "zarr.json").write_text(text)

    def test_an_older_result_is_replaced(self, tmp_path):
        final = tmp_path / "a.zarr"
        for text in ("old", "new"):
            self.write(final, text)
            assert (final / "zarr.json").read_text() == text
        assert names(tmp_path) == ["a.zarr"]

    def test_an_older_result_survives_a_failure(self, tmp_path):
        final = tmp_path / "a.zarr"
        self.write(final, "old")
        with pytest.raises(TypeError):
            self.write(final, 5)
        assert (final / "zarr.json").read_text() == "old"
        assert names(tmp_path) == ["a.zarr"]

    def test_any_other_folder_is_never_replaced(self, tmp_path):
        final = tmp_path / "a.zarr"
        final.mkdir()
        (final / "thesis.doc").write_text("precious")
        with pytest.raises(CannotWrite, match="not replaced"):
            self.write(final, "new")
        assert names(final) == ["thesis.doc"]

    def test_a_file_is_not_replaced_by_a_folder(self, tmp_path):
        (tmp_path / "a.zarr").write_text("precious")
        with pytest.raises(CannotWrite, match="is a file"):
            self.write(tmp_path / "a.zarr", "new")

    def test_killed_while_it_replaces_an_older_result_that_comes_back(self, tmp_path):
        final = tmp_path / "a.zarr"
        self.write(final, "old")
        script = f"""
import os, signal
from pathlib import Path
from napari_ppn2v.files.atomic import atomic_path
def kill(event, details):
    if event == "os.rename" and str(details[1]) == {str(final)!r}:
        os.kill(os.getpid(), signal.SIGKILL)
with atomic_path({str(final)!r}, folder_marker="zarr.json") as path:
    path.mkdir()
    (path / "zarr.json").write_text("new")
    import sys
    sys.addaudithook(kill)
"""
        ended = subprocess.run([sys.executable, "-c", script], check=False)
        assert ended.returncode == -9
        assert not final.exists()
        remove_leftovers(tmp_path)
        assert (final / "zarr.json").read_text() == "old"
        assert names(tmp_path) == ["a.zarr"]


class TestLeftovers:
    """What killed processes leave, and whose it is."""

    KILLED = """
import os, signal, sys
from pathlib import Path
from napari_ppn2v.files.atomic import atomic_path
with atomic_path(sys.argv[1]) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""

    def leave(self, final):
        command = [sys.executable, "-c", self.KILLED, str(final)]
        assert subprocess.run(command, check=False).returncode == -9

    def test_those_of_a_killed_process_are_hidden_and_removed(self, tmp_path):
        final = tmp_path / "a.ome.tif"
        self.leave(final)
        (left,) = names(tmp_path)
        assert left.startswith(".")
        assert left.endswith(".ome.tif")
        remove_leftovers(tmp_path)
        assert names(tmp_path) == []

    def test_the_next_write_into_the_folder_removes_them(self, tmp_path):
        self.leave(tmp_path / "a.txt")
        write_text_atomically(tmp_path / "b.txt", "whole")
        assert names(tmp_path) == ["b.txt"]

    def test_they_are_looked_for_once_where_much_is_written(
        self, tmp_path, monkeypatch
    ):
        looked_into = []
        monkeypatch.setattr(leftovers, "remove_leftovers", looked_into.append)
        for number in range(50):
            write_text_atomically(tmp_path / f"{number}.txt", "whole")
        assert looked_into == [tmp_path]

    def test_folders_of_runs_long_ago_are_not_remembered(self, tmp_path):
        for number in range(50):
            folder = tmp_path / f"run-{number}"
            folder.mkdir()
            write_text_atomically(folder / "a.txt", "whole")
        del folder
        gc.collect()
        # the type alone: some objects of torch warn when they are asked for more
        paths = [item for item in gc.get_objects() if type(item) is type(tmp_path)]
        assert sum(path.parent == tmp_path for path in paths) < 20

    def test_those_of_a_process_at_work_stay(self, tmp_path):
        with atomic_path(tmp_path / "a") as path:
            path.write_text("half")
            remove_leftovers(tmp_path)
            assert path.exists()
        assert names(tmp_path) == ["a"]

    def test_the_number_of_a_process_that_began_later_is_no_owner(self, tmp_path):
        with atomic_path(tmp_path / "a") as path:
            *head, began, token, name = path.name.split("-")
            earlier = f"{int(began, 16) - 1000:x}"
            (tmp_path / "-".join([*head, earlier, token, name])).write_text("half")
            remove_leftovers(tmp_path)
            path.write_text("whole")
        assert names(tmp_path) == ["a"]

    def test_those_of_another_computer_stay_for_a_day(self, tmp_path):
        theirs = tmp_path / ".ppn2v-tmp-00000000-1f-5f5e100-01234567-a.tif"
        theirs.write_text("half")
        remove_leftovers(tmp_path)
        assert theirs.exists()
        long_ago = time.time() - 2 * 24 * 3600
        os.utime(theirs, (long_ago, long_ago))
        remove_leftovers(tmp_path)
        assert not theirs.exists()

    def test_other_hidden_files_are_never_touched(self, tmp_path):
        for name in (".ppn2v-notes", ".bashrc", ".ppn2v-tmp-mine"):
            (tmp_path / name).write_text("precious")
        remove_leftovers(tmp_path)
        assert len(names(tmp_path)) == 3

    def test_a_folder_that_is_not_there_is_no_error(self, tmp_path):
        remove_leftovers(tmp_path / "missing")

    def test_names_as_long_as_can_be_are_written(self, tmp_path):
        write_text_atomically(tmp_path / ("n" * 250), "whole")
        assert names(tmp_path) == ["n" * 250]


def test_a_symbolic_link_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    write_text_atomically(link, "µm")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text("utf-8") == "µm"


def test_json_is_strict_and_takes_numpy(tmp_path):
    write_json_atomically(
        tmp_path / "a.json",
        {"n": np.int64(3), "a": np.arange(2.0), "inf": np.inf, "p": Path("b"), 1: (1,)},
    )
    read = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert read == {"n": 3, "a": [0.0, 1.0], "inf": None, "p": "b", "1": [1]}


def test_arrays_load_without_pickle(tmp_path):
    write_arrays_atomically(tmp_path / "a.npz", {"a": np.eye(2), "b": "text"})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        np.testing.assert_array_equal(read["a"], np.eye(2))
        assert str(read["b"]) == "text"
    with pytest.raises(TypeError, match=r"\['o'\]"):
        write_arrays_atomically(tmp_path / "a.npz", {"o": np.array([None])})
