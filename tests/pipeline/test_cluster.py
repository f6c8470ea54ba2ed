"""A Dask cluster of real processes gives the bits of one computer, whoever is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from napari_ppn2v.core.denoiser import Denoiser
from napari_ppn2v.core.inference import Blindness
from napari_ppn2v.core.networks import UNetConfig
from napari_ppn2v.core.noise_models import PoissonGaussianModel
from napari_ppn2v.core.prior_network import Normalisation, PriorNetwork
from napari_ppn2v.errors import BadData, BadFile, BadSetting
from napari_ppn2v.events import FrameDenoised, Notice, collect
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.model_file import save_model
from napari_ppn2v.files.zarr_writing import chunk_side_for
from napari_ppn2v.pipeline import cluster
from napari_ppn2v.pipeline.cluster import ClusterChoice, connected
from napari_ppn2v.pipeline.cluster_job import ClusterSpread, block_side, parts_of
from napari_ppn2v.pipeline.cluster_worker import _worker_name, device_of_worker
from napari_ppn2v.pipeline.inputs import open_noisy
from napari_ppn2v.pipeline.result_files import ResultTarget, denoise_to_file
from napari_ppn2v.stop import StopToken
from tests.documents import DOCS, blocks

pytest.importorskip("distributed")


def untrained(n_samples=5, **changes):
    """A denoiser with all parts; training changes nothing of what is tested here."""
    torch.manual_seed(0)
    normalisation = Normalisation(260.0, 90.0)
    networks = [
        PriorNetwork(UNetConfig(n_filters=4), "gaussian", n_samples, normalisation)
        for _ in range(2)
    ]
    noise_model = PoissonGaussianModel(
        gain=2.2, offset=100.0, read_noise=3.3, signal_range=(100.0, 900.0)
    )
    denoiser = Denoiser(
        model=networks[0].eval(),
        refined=networks[1].eval(),
        noise_model=noise_model,
        training_blindness=Blindness(4, "mean"),
        estimate="mmse",
        is_blind=False,
        reason="untrained",
    )
    return replace(denoiser, **changes)


def noisy(*shape):
    rng = np.random.default_rng(1)
    return (100 + 2.2 * rng.poisson(60, shape)).astype(np.uint16)


@pytest.fixture(scope="module")
def client():
    """Scheduler and workers are real, but threads of this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=False,
            dashboard_address=None,
            memory_limit=0,
        ) as local,
        distributed.Client(local, set_as_default=False) as found,
    ):
        yield found


@pytest.fixture
def processes():
    """Two worker processes, each of which is started again when it is lost."""
    with connected(ClusterChoice(n_workers=2)) as found:
        yield found


@pytest.fixture
def write(tmp_path):
    """Denoise an image file of this folder into a result, here or on a cluster."""

    def denoised(name, image, spread, *, denoiser=None, axes="TYX", stop=None, **opts):
        path = tmp_path / "noisy.tif"
        if not path.exists():
            tifffile.imwrite(path, image, ome=True, metadata={"axes": axes})
        channel = "all" if "C" in axes else None
        (opened,) = open_noisy((path,), None, channel, "")
        spread = spread and replace(spread, channel=channel)
        denoisers = [denoiser or untrained()] * len(opened.frames)
        std = tmp_path / f"std_{name}" if opts.pop("with_std", False) else None
        job = denoise_to_file(
            denoisers,
            opened,
            ResultTarget(tmp_path / name, std),
            **{"dtype": "float32", "tile_size": 64, "provenance": {"a": 1}, **opts},
            stop=stop or StopToken(),
            spread=spread,
        )
        return collect(job)

    return denoised


def names(folder):
    return sorted(item.name for item in folder.iterdir())


@pytest.mark.parametrize("ending", [".zarr", ".ome.tif"])
def test_the_result_has_the_bits_of_one_computer(tmp_path, client, write, ending):
    image = noisy(3, 150, 130)
    options = {"with_std": True}
    write(f"here{ending}", image, None, **options)
    events, written = write(f"there{ending}", image, ClusterSpread(client), **options)
    for stem in ("", "std_"):
        here = open_image(tmp_path / f"{stem}here{ending}")
        there = open_image(tmp_path / f"{stem}there{ending}")
        np.testing.assert_array_equal(here.data, there.data)
        assert (here.axes, here.pixel_size) == (there.axes, there.pixel_size)
        assert here.metadata["provenance"] == there.metadata["provenance"]
    assert written.clipped == (0, 0)
    done = [event for event in events if isinstance(event, FrameDenoised)]
    assert [(event.index, event.total) for event in done] == [(0, 3), (1, 3), (2, 3)]
    assert len(names(tmp_path)) == 5


class TestOtherSettings:
    """Whatever is denoised, blocks give what whole frames give."""

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"is_blind": True}, id="blind"),
            pytest.param({"estimate": "refined"}, id="refined"),
            pytest.param({"averages_orientations": True}, id="orientations"),
        ],
    )
    def test_estimates(self, tmp_path, client, write, changes):
        denoiser, image = untrained(**changes), noisy(2, 70, 66)
        write("here.zarr", image, None, denoiser=denoiser)
        write("there.zarr", image, ClusterSpread(client), denoiser=denoiser)
        self.compare(tmp_path, ".zarr")

    @pytest.mark.parametrize("ending", [".zarr", ".tif"])
    def test_channels_and_integers(self, tmp_path, client, write, ending):
        image = noisy(2, 2, 80, 70)
        options = {"axes": "TCYX", "dtype": "same"}
        write(f"here{ending}", image, None, **options)
        write(f"there{ending}", image, ClusterSpread(client), **options)
        assert self.compare(tmp_path, ending).dtype == np.uint16

    def test_frames_larger_than_a_block(self, tmp_path, client, write, monkeypatch):
        monkeypatch.setattr("napari_ppn2v.pipeline.cluster_job.BLOCK_PIXELS", 2**16)
        monkeypatch.setattr("napari_ppn2v.files.pyramid.WORTHWHILE_SIDE", 256)
        monkeypatch.setattr("napari_ppn2v.files.pyramid.SMALLEST_SIDE", 128)
        image = noisy(520, 260)
        write("here.zarr", image, None, axes="YX")
        write("there.zarr", image, ClusterSpread(client), axes="YX")
        self.compare(tmp_path, ".zarr")
        for level in "123":
            here, there = (
                open_image(tmp_path / name / level).data[...]
                for name in ("here.zarr", "there.zarr")
            )
            np.testing.assert_array_equal(here, there)

    def compare(self, folder, ending):
        here = open_image(folder / f"here{ending}").data[...]
        np.testing.assert_array_equal(here, open_image(folder / f"there{ending}").data)
        return here


@pytest.mark.parametrize("ending", [".zarr", ".tif"])
def test_a_stop_calls_back_what_is_pending_and_leaves_nothing(
    tmp_path, client, write, ending
):
    image, stop = noisy(40, 64, 64), StopToken()
    stop.stop()
    before = len(client.nthreads())
    events, written = write(f"a{ending}", image, ClusterSpread(client), stop=stop)
    assert written is None
    assert not any(isinstance(event, FrameDenoised) for event in events)
    assert names(tmp_path) == ["noisy.tif"]
    assert len(client.nthreads()) == before
    # and the cluster can be used again
    _, written = write(f"a{ending}", image, ClusterSpread(client))
    assert written is not None


def test_a_stop_in_the_midst_is_seen_within_seconds(tmp_path, client, write):
    image, stop = noisy(200, 64, 64), StopToken()
    tifffile.imwrite(tmp_path / "noisy.tif", image, metadata={"axes": "TYX"})
    (opened,) = open_noisy((tmp_path / "noisy.tif",), "TYX", None, "")
    job = denoise_to_file(
        [untrained()],
        opened,
        ResultTarget(tmp_path / "a.zarr"),
        dtype="float32",
        tile_size=64,
        provenance={},
        stop=stop,
        spread=ClusterSpread(client, axes="TYX"),
    )
    for event in job:
        if isinstance(event, FrameDenoised):
            stop.stop()
            asked = time.monotonic()
    assert time.monotonic() - asked < 20
    assert names(tmp_path) == ["noisy.tif"]


def test_an_error_on_a_worker_is_the_error_of_one_computer(tmp_path, client, write):
    image = noisy(4, 64, 64).astype(np.float32)
    image[2, 5, 6] = np.nan
    with pytest.raises(BadData, match="Frame 2 holds 1 values"):
        write("a.zarr", image, ClusterSpread(client))
    assert names(tmp_path) == ["noisy.tif"]


def test_workers_that_see_another_file_say_so(tmp_path, client, write):
    write("here.tif", noisy(4, 64, 64), None)
    (opened,) = open_noisy((tmp_path / "noisy.tif",), None, None, "")
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(5, 64, 64))
    job = denoise_to_file(
        [untrained()],
        opened,
        ResultTarget(tmp_path / "there.tif"),
        dtype="float32",
        tile_size=64,
        provenance={},
        stop=StopToken(),
        spread=ClusterSpread(client),
    )
    with pytest.raises(BadFile, match="another image at"):
        collect(job)
    assert names(tmp_path) == ["here.tif", "noisy.tif"]


def test_workers_that_cannot_see_the_file_say_that_it_must_be_shared(
    tmp_path, client, write
):
    tifffile.imwrite(tmp_path / "noisy.tif", noisy(5, 64, 64))
    (opened,) = open_noisy((tmp_path / "noisy.tif",), None, None, "")
    (tmp_path / "noisy.tif").unlink()
    job = denoise_to_file(
        [untrained()],
        opened,
        ResultTarget(tmp_path / "there.zarr"),
        dtype="float32",
        tile_size=64,
        provenance={},
        stop=StopToken(),
        spread=ClusterSpread(client),
    )
    with pytest.raises(BadFile, match=r"There is no file .* the same path"):
        collect(job)
    assert names(tmp_path) == []


class TestBlocks:
    @pytest.mark.parametrize("tile", [512, 500, 256, 144, 32, 1024, 1500, 2048, 4000])
    def test_end_where_tiles_and_chunks_end(self, tile):
        chunk = chunk_side_for(tile)
        side = block_side(tile, chunk)
        assert side % tile == side % chunk == 0
        assert chunk % tile == 0 or tile % chunk == 0
        assert 128 <= chunk <= max(1024, tile)

    @pytest.mark.parametrize(
        ("n_frames", "shape"),
        [(1, (8192, 8192)), (10_000, (64, 64)), (7, (600, 1500)), (3, (5, 9))],
    )
    def test_cover_each_pixel_once_and_are_not_too_large(self, n_frames, shape):
        side, pixels = 1024, 0
        seen = set()
        for part in parts_of(n_frames, shape, side, n_threads=4):
            size = (part.rows.stop - part.rows.start) * (
                part.columns.stop - part.columns.start
            )
            assert len(part.frames) * size <= 2**20
            pixels += len(part.frames) * size
            seen |= {(i, part.rows.start, part.columns.start) for i in part.frames}
        assert pixels == n_frames * shape[0] * shape[1]
        assert len(seen) == n_frames * -(-shape[0] // side) * -(-shape[1] // side)

    def test_of_few_small_frames_are_shared_among_all_workers(self):
        parts = list(parts_of(16, (64, 64), 1024, n_threads=4))
        assert len(parts) == 16


class TestDevices:
    def test_workers_that_a_run_starts_take_the_cards_in_turn(
        self, client, monkeypatch
    ):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        asked = [
            client.submit(_worker_name, workers=[worker], pure=False)
            for worker in client.scheduler_info()["workers"]
        ]
        names = client.gather(asked)
        cards = {str(device_of_worker("cuda:all", name)) for name in names}
        assert cards == {"cuda:0", "cuda:1"}
        turns = [device_of_worker("cuda:0,cuda:1", n).index for n in range(5)]
        assert turns == [0, 1, 0, 1, 0]

    def test_workers_of_a_cluster_take_the_first_device(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        found = device_of_worker("cuda:1,cuda:0", "tcp://10.0.0.1:4000")
        assert found == torch.device("cuda", 1)

    def test_a_single_device_is_that_of_all(self):
        assert {device_of_worker("cpu", n) for n in range(3)} == {torch.device("cpu")}


class TestChoice:
    @pytest.mark.parametrize(
        "given", [{}, {"scheduler": "tcp://a:1", "n_workers": 2}, {"n_workers": -1}]
    )
    def test_is_one_of_two(self, given):
        with pytest.raises(BadSetting, match="Dask"):
            ClusterChoice(**given)

    def test_a_missing_package_is_named_with_its_remedy(self, monkeypatch):
        monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
        with (
            pytest.raises(BadSetting, match=r"pip install 'napari-ppn2v\[cluster\]'"),
            connected(ClusterChoice(n_workers=2)),
        ):
            pytest.fail("there is nothing to connect with")

    def test_a_scheduler_that_does_not_answer_is_named(self, monkeypatch):
        monkeypatch.setattr(cluster, "SECONDS_TO_ANSWER", 0.5)
        with (
            pytest.raises(BadSetting, match="No Dask scheduler answers at tcp://127"),
            connected(ClusterChoice(scheduler="tcp://127.0.0.1:9")),
        ):
            pytest.fail("nobody answers")


@pytest.mark.slow
class TestProcesses:
    @pytest.mark.parametrize("ending", [".zarr", ".tif"])
    def test_a_worker_killed_in_the_midst_changes_nothing(
        self, tmp_path, processes, write, ending
    ):
        image = noisy(24, 200, 200)
        write(f"here{ending}", image, None)
        (opened,) = open_noisy((tmp_path / "noisy.tif",), None, None, "")
        pids = processes.run(os.getpid)
        job = denoise_to_file(
            [untrained()],
            opened,
            ResultTarget(tmp_path / f"there{ending}"),
            dtype="float32",
            tile_size=64,
            provenance={"a": 1},
            stop=StopToken(),
            spread=ClusterSpread(processes),
        )
        events, killed = [], None
        for event in job:
            events.append(event)
            if isinstance(event, FrameDenoised) and killed is None:
                killed, pid = next(iter(pids.items()))
                os.kill(pid, signal.SIGKILL)
        notices = [event.message for event in events if isinstance(event, Notice)]
        assert any("lost 1 worker" in text and killed in text for text in notices)
        here = open_image(tmp_path / f"here{ending}").data[...]
        there = open_image(tmp_path / f"there{ending}").data[...]
        np.testing.assert_array_equal(here, there)
        assert names(tmp_path) == sorted(
            ["noisy.tif", f"here{ending}", f"there{ending}"]
        )


COMMAND_LINE = [sys.executable, "-c", "from napari_ppn2v.cli import main; main()"]


def started(stack, *arguments):
    """A part of Dask as a process of its own, ended with the stack."""
    command = [sys.executable, "-m", "dask", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("command", ["apply", "denoise"])
def test_from_the_command_line_on_a_cluster_that_loses_a_worker(tmp_path, command):
    image, data = noisy(12, 160, 160), tmp_path / "noisy.tif"
    tifffile.imwrite(data, image, ome=True, metadata={"axes": "TYX"})
    model = save_model(tmp_path / "model.ppn2v", untrained())
    brief = "--preset fast --steps 6 --noise-model-kind histogram --estimate mmse"
    shared = ["--device", "cpu", "--threads", "1", "--tile-size", "64"]
    if command == "apply":
        start = ["apply", str(model), str(data), *shared]
    else:
        start = ["denoise", str(data), *brief.split(), "--blind", "no", *shared]
    here, there = tmp_path / "here.zarr", tmp_path / "there.zarr"
    subprocess.run([*COMMAND_LINE, *start, "-o", str(here)], check=True)
    with ExitStack() as stack:
        file = tmp_path / "scheduler.json"
        listen = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        started(stack, "scheduler", *listen, "--scheduler-file", file)
        workers = [
            started(
                stack,
                *("worker", "--scheduler-file", file, "--no-nanny", "--no-dashboard"),
                *("--nthreads", "1", "--local-directory", tmp_path / "scratch"),
            )
            for _ in range(2)
        ]
        asked = [*COMMAND_LINE, *start, "-o", str(there)]
        job = subprocess.Popen(
            [*asked, "--dask-scheduler", str(file)], stderr=subprocess.PIPE, text=True
        )
        stack.callback(job.wait)
        stack.callback(job.kill)
        while not any(tmp_path.glob(".ppn2v-tmp-*/0/c/*/*/*")):
            assert job.poll() is None, job.stderr.read()
            time.sleep(0.01)
        workers[0].send_signal(signal.SIGKILL)
        messages = job.communicate(timeout=300)[1]
        assert job.returncode == 0, messages
        # never its name before it is whole, and no trace of the temporary one
        assert not any(tmp_path.glob(".ppn2v-tmp-*"))
    assert "lost 1 worker" in messages
    np.testing.assert_array_equal(open_image(here).data, open_image(there).data)


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("cells.ppn2v", untrained())
    tifffile.imwrite("noisy.tif", noisy(2, 64, 64), metadata={"axes": "TYX"})
    page = DOCS / "how-to" / "large-data-and-clusters.md"
    for block in blocks(page, "py"):
        exec(
            compile(block, "page", "exec", dont_inherit=True), {"__name__": "__main__"}
        )
    assert open_image("denoised.zarr").shape == (2, 64, 64)
    assert names(tmp_path) == ["cells.ppn2v", "denoised.zarr", "noisy.tif"]
