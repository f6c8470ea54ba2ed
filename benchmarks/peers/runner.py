"""Run a peer in its own environment and bring back what it made of our images.

    from peers.runner import Peer, PeerOptions, run_peer

    ppn2v = Peer("ppn2v", Path("envs/ppn2v/bin/python"), code=Path("PPN2V"))
    result = run_peer(ppn2v, noisy, options=PeerOptions(seconds=600, seed=1))

How to get the peers stands in the README beside this file. Their drivers follow
`protocol.py`, and so may any other program that is named as `Peer.driver`.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HERE = Path(__file__).resolve().parent
REQUIRED = ("cpu_seconds_training", "cpu_seconds_prediction", "peak_mb", "steps")
STDERR_LINES = 15

Setting = str | int | float | bool | Path


class PeerFailed(RuntimeError):
    """The peer could not be started, failed, or did not keep to the protocol."""


@dataclass(frozen=True)
class Peer:
    """A program of others and where it is.

    Attributes
    ----------
    name
        `ppn2v`, `careamics` or `noise2vst`; of any other name where `driver` is given.
    python
        The Python of the peer's own environment.
    code
        Folder with the published code, where it is not installed in that environment.
    driver
        The script that runs the peer; by default ours of that name.
    """

    name: str
    python: Path
    code: Path | None = None
    driver: Path | None = None

    @property
    def script(self) -> Path:
        """The script that runs the peer."""
        return self.driver or HERE / f"drive_{self.name}.py"


@dataclass(frozen=True)
class PeerOptions:
    """What is asked of a peer.

    Attributes
    ----------
    seconds, steps
        CPU seconds of everything up to the prediction, or optimizer steps: one of them.
    seed, threads
        As the driver's options.
    predicted_frames
        Indices of the frames to estimate; the others come back as NaN. None: all.
    more
        Options of the one driver by their names, as in `{"method": "pn2v"}` for
        `--method pn2v`. True stands for an option without value; False leaves it out.
    """

    seconds: float | None = None
    steps: int | None = None
    seed: int = 0
    threads: int = 1
    predicted_frames: Sequence[int] | None = None
    more: Mapping[str, Setting | Sequence[Setting]] = field(default_factory=dict)


@dataclass(frozen=True)
class PeerCurve:
    """Where PSNR is measured while the peer trains, without counting against it.

    Attributes
    ----------
    file
        CSV to be written: stage, step, cpu_seconds, psnr (dB).
    truth
        (T, Y, X), ADU.
    every
        Steps between two scores.
    frames, region
        Scored frames (None: all), and (top, bottom, left, right) of the scored region
        (None: complete frames).
    """

    file: Path
    truth: np.ndarray
    every: int = 10
    frames: Sequence[int] | None = None
    region: Sequence[int] | None = None


@dataclass(frozen=True)
class PeerResult:
    """What a peer made, and what it took.

    Attributes
    ----------
    mmse, prior_mean
        (T, Y, X) float32, ADU; None where the peer has no such estimate.
    cpu_seconds_training, cpu_seconds_prediction
        Of all threads; training is everything up to the prediction of these estimates.
    peak_mb
        Highest resident memory, 10⁶ bytes.
    steps
        Optimizer steps of the last stage.
    versions
        Of the peer, its Python, torch and numpy.
    notes
        What else the driver reported, for instance the seconds of each stage.
    """

    mmse: np.ndarray | None
    prior_mean: np.ndarray | None
    cpu_seconds_training: float
    cpu_seconds_prediction: float
    peak_mb: float
    steps: int
    versions: dict[str, str]
    notes: dict[str, object]

    @property
    def best(self) -> np.ndarray:
        """The MMSE where there is one, else the prior mean."""
        best = self.mmse if self.mmse is not None else self.prior_mean
        if best is None:
            raise PeerFailed("The peer returned no estimate.")
        return best


def run_peer(
    peer: Peer,
    noisy: np.ndarray,
    *,
    options: PeerOptions,
    curve: PeerCurve | None = None,
    time_limit: float | None = None,
) -> PeerResult:
    """Run a peer on noisy frames in a process of its own.

    Parameters
    ----------
    noisy
        (T, Y, X), ADU.
    time_limit
        Wall seconds after which the peer is ended; None: no limit.

    Raises
    ------
    PeerFailed  If it cannot be started, fails, takes too long or returns something else
        than estimates of that shape. The message holds the end of what it said.
    """
    _check(peer, noisy, options)
    with tempfile.TemporaryDirectory(prefix="peer-") as name:
        folder = Path(name)
        np.save(folder / "noisy.npy", np.asarray(noisy, dtype=np.float32))
        command = _command(peer, folder, options) + _curve_options(curve, folder)
        report = _report(peer, _run(peer, command, options.threads, time_limit))
        arrays = _estimates(peer, folder / "result.npz", noisy.shape)
    known = {name: report.pop(name) for name in (*REQUIRED, "versions")}
    return PeerResult(**arrays, **known, notes=report)


def _check(peer: Peer, noisy: np.ndarray, options: PeerOptions) -> None:
    if noisy.ndim != 3:
        raise ValueError(f"Peers take frames (T, Y, X), not an array {noisy.shape}.")
    if (options.seconds is None) == (options.steps is None):
        raise ValueError("Give either seconds or steps.")
    for what, path in (("Python", peer.python), ("driver", peer.script)):
        if not path.is_file():
            raise PeerFailed(f"{peer.name}: there is no {what} at {path}.")
    if peer.code is not None and not peer.code.is_dir():
        raise PeerFailed(f"{peer.name}: there is no code at {peer.code}.")


def _command(peer: Peer, folder: Path, options: PeerOptions) -> list[str]:
    # Not resolved: a link to a Python outside would lose its virtual environment.
    command = [str(peer.python.absolute()), str(peer.script.resolve())]
    settings: dict[str, object] = {
        "input": folder / "noisy.npy",
        "output": folder / "result.npz",
        "code": peer.code.resolve() if peer.code else None,
        "seconds": options.seconds,
        "steps": options.steps,
        "seed": options.seed,
        "threads": options.threads,
        "predicted_frames": options.predicted_frames,
        **options.more,
    }
    return command + _as_options(settings)


def _curve_options(curve: PeerCurve | None, folder: Path) -> list[str]:
    if curve is None:
        return []
    np.save(folder / "truth.npy", np.asarray(curve.truth, dtype=np.float32))
    return _as_options(
        {
            "curve": curve.file.resolve(),
            "truth": folder / "truth.npy",
            "score_every": curve.every,
            "scored_frames": curve.frames,
            "scored_region": curve.region,
        }
    )


def _as_options(settings: Mapping[str, object]) -> list[str]:
    words = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is True:
            continue
        several = not isinstance(value, str | int | float | Path)
        words += [str(item) for item in value] if several else [str(value)]
    return words


def _run(
    peer: Peer, command: list[str], threads: int, time_limit: float | None
) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    # What is set for our own Python must not reach the peer's.
    for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        environment.pop(name, None)
    try:
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerFailed(
            f"{peer.name} was ended after {time_limit:g} s. Give it a smaller budget, "
            f"fewer predicted frames, or more time."
        ) from error


def _report(
    peer: Peer, finished: subprocess.CompletedProcess[str]
) -> dict[str, object]:
    if finished.returncode:
        raise PeerFailed(
            f"{peer.name} ended with exit status {finished.returncode}:\n"
            f"{_end_of(finished.stderr)}"
        )
    # Peers may print before it, and what they leave running may print after it.
    for line in reversed(finished.stdout.splitlines()):
        report = _as_report(line)
        if report is not None:
            return report
    raise PeerFailed(
        f"{peer.name} ended without its report, a line of JSON with "
        f"{', '.join(REQUIRED)} and versions. It said last:\n"
        f"{_end_of(finished.stdout + finished.stderr)}"
    )


def _as_report(line: str) -> dict[str, object] | None:
    try:
        report = json.loads(line)
    except ValueError:
        return None
    complete = isinstance(report, dict) and {*REQUIRED, "versions"} <= report.keys()
    return report if complete else None


def _estimates(
    peer: Peer, path: Path, shape: tuple[int, ...]
) -> dict[str, np.ndarray | None]:
    if not path.exists():
        raise PeerFailed(f"{peer.name} reported success but wrote no result.")
    with np.load(path) as file:
        arrays = {
            name: file[name].astype(np.float32) if name in file else None
            for name in ("mmse", "prior_mean")
        }
    shapes = {array.shape for array in arrays.values() if array is not None}
    if shapes != {shape}:
        raise PeerFailed(
            f"{peer.name} returned {shapes or 'nothing'} for frames of shape {shape}."
        )
    return arrays


def _end_of(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-STDERR_LINES:]) or "(nothing)"
