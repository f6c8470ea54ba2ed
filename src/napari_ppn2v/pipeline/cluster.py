"""Dask clusters: which one, whether it can be used, and the connection to it.

A Dask cluster runs whatever its clients send: whoever can reach the scheduler can run
code on every worker. That is Dask's design, and why clusters belong behind a firewall
or on TLS. Of ours, only calls of functions in `cluster_worker` are sent, with plain
settings, and the model as the bytes of a model file.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppn2v import __version__
from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS_TO_ANSWER = 15
SECONDS_TO_GATHER = 60
_DECIDES_THE_BITS = ("torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class ClusterChoice:
    """The Dask cluster to denoise on: a running one, or processes of this computer.

    Attributes
    ----------
    scheduler
        Address of a running scheduler ("tcp://host:8786", "tls://...") or the file
        that it wrote ("scheduler.json"). Its workers need napari-ppn2v of the same
        version, and the images under the same path; for results in .zarr the folder
        of the result as well.
    n_workers
        Processes to start on this computer in place of that, one thread each.

    Raises
    ------
    BadSetting  If both or neither is given.
    """

    scheduler: str = ""
    n_workers: int = 0

    def __post_init__(self) -> None:
        if bool(self.scheduler) == (self.n_workers != 0):
            raise BadSetting(
                "Give either the address of a Dask scheduler, or the number of worker "
                "processes to start on this computer (--dask-workers), not both."
            )
        if self.n_workers < 0:
            raise BadSetting(
                f"The number of Dask workers is {self.n_workers}. It must be at least "
                "1."
            )

    def describe(self) -> str:
        """Name it in words."""
        if self.scheduler:
            return f"the Dask cluster at {self.scheduler}"
        return f"{self.n_workers} worker processes of this computer"


def require_distributed() -> None:
    """Check that Dask can use several processes here.

    Raises
    ------
    BadSetting  If the optional package is missing.
    """
    if importlib.util.find_spec("distributed") is None:
        raise BadSetting(
            "Dask clusters need the package 'distributed', which is not installed. "
            "Install it with: pip install 'napari-ppn2v[cluster]'. Without it, leave "
            "out --dask-scheduler and --dask-workers to compute on this computer."
        )


def check_cluster(choice: ClusterChoice | None) -> None:
    """Check that a cluster can be used, without keeping it; see `connected`."""
    if choice is None:
        return
    require_distributed()
    if choice.scheduler:
        with connected(choice):
            return


@contextmanager
def connected(choice: ClusterChoice) -> Iterator[Any]:
    """Connect to the cluster; a local one is started, and ended with the block.

    Yields
    ------
    distributed.Client

    Raises
    ------
    BadSetting  If `distributed` is missing, nothing answers, there is no worker, or
        the workers do not have this version of napari-ppn2v.
    """
    require_distributed()
    with ExitStack() as stack:
        if choice.scheduler:
            client = stack.enter_context(_client(choice.scheduler))
        else:
            client = stack.enter_context(_local(choice.n_workers))
        _wait_for_workers(client, choice)
        _check_versions(client)
        yield client


@contextmanager
def _client(scheduler: str) -> Iterator[Any]:
    import distributed

    new_client: Any = distributed.Client
    is_file = Path(scheduler).is_file()
    where = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = new_client(**where, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadSetting(
            f"No Dask scheduler answers at {scheduler} ({error}). Check the address "
            "(for example tcp://192.168.1.10:8786), that 'dask scheduler' runs there, "
            "and that no firewall is between."
        ) from error
    with client:
        yield client


@contextmanager
def _local(n_workers: int) -> Iterator[Any]:
    import distributed

    new_client: Any = distributed.Client
    new_cluster: Any = distributed.LocalCluster
    with ExitStack() as stack:
        scratch = stack.enter_context(
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        )
        cluster = stack.enter_context(
            new_cluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,  # a block takes what a tile takes, whatever the stack
                dashboard_address=None,
                host="127.0.0.1",
                local_directory=scratch,
                silence_logs=logging.CRITICAL,  # lost workers are told as events
            )
        )
        client = stack.enter_context(new_client(cluster, set_as_default=False))
        client.wait_for_workers(n_workers, timeout=SECONDS_TO_GATHER)
        yield client


def _wait_for_workers(client: Any, choice: ClusterChoice) -> None:
    try:
        client.wait_for_workers(1, timeout=SECONDS_TO_GATHER)
    except TimeoutError as error:
        raise BadSetting(
            f"The Dask scheduler at {choice.scheduler} has no workers after "
            f"{SECONDS_TO_GATHER} s. Start some with 'dask worker "
            f"{choice.scheduler}' on the machines that shall compute."
        ) from error


def installed() -> dict[str, str]:
    """Return the versions of what computes, without loading it; runs on workers."""
    versions = {n: importlib.metadata.version(n) for n in _DECIDES_THE_BITS}
    return {"napari-ppn2v": __version__, **versions}


def _check_versions(client: Any) -> None:
    for worker, theirs in client.run(installed, on_error="return").items():
        if isinstance(theirs, BaseException):
            raise BadSetting(
                f"The Dask worker {worker} cannot run napari-ppn2v ({theirs}). Install "
                f"version {__version__} of it there, in the environment that 'dask "
                "worker' is started from."
            )
        if theirs["napari-ppn2v"] != __version__:
            raise BadSetting(
                f"The Dask worker {worker} has version {theirs['napari-ppn2v']} of "
                f"napari-ppn2v, here it is {__version__}. Install the same version "
                "everywhere."
            )


def differing_software(client: Any) -> str:
    """Say which workers have other versions of what decides the last digits."""
    ours = installed()
    found = client.run(installed, on_error="ignore")
    others = sorted({str(theirs) for theirs in found.values() if theirs != ours})
    return "; ".join(others)
