"""Where the work is done, and with which number format."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING

import torch

from napari_ppn2v.errors import BadSetting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def choose_device(name: str = "auto") -> torch.device:
    """Return the device of that name; "auto" takes CUDA, then Apple MPS, then CPU.

    Of several that are named, this is the first; see `choose_devices`.

    Raises
    ------
    BadSetting  If a device is not there.
    """
    return choose_devices(name)[0]


def choose_devices(name: str = "auto") -> tuple[torch.device, ...]:
    """Return the devices that share the work of a training.

    Parameters
    ----------
    name
        One device as for `choose_device`, "cuda:1" for the second graphics card;
        "cuda:0,cuda:1" for several cards, "cuda:all" for all that there are.

    Raises
    ------
    BadSetting  If a device is not there, is named twice, or is no card among several.
    """
    if name == "cuda:all" and torch.cuda.is_available():
        return tuple(torch.device("cuda", n) for n in range(torch.cuda.device_count()))
    named = [part.strip() for part in name.split(",")]
    if len(named) == 1:
        return (_one_device(named[0]),)
    others = [part for part in named if part.partition(":")[0] != "cuda"]
    if others:
        raise BadSetting(
            f"The devices '{name}' are not all CUDA graphics cards ({others[0]!r} is "
            "none). Each gets an equal share of the work, so only cards share one. "
            "Name cards alone, for example 'cuda:0,cuda:1', or a single device."
        )
    devices = [torch.device("cuda", _one_device(part).index or 0) for part in named]
    if len(set(devices)) < len(devices):
        raise BadSetting(
            f"The devices '{name}' name a graphics card twice. Name each once, or "
            "take all with 'cuda:all'."
        )
    return tuple(devices)


def _one_device(name: str) -> torch.device:
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return torch.device(
            next(kind for kind, is_there in available.items() if is_there)
        )
    kind, _, number = name.partition(":")
    if not available.get(kind, False):
        there = ", ".join(k for k, is_there in available.items() if is_there)
        raise BadSetting(
            f"The device '{name}' is not available here. Available: {there}. "
            "Choose one of these, or 'auto'."
        )
    count = torch.cuda.device_count() if kind == "cuda" else 1
    if name != kind and not (number.isdecimal() and int(number) < count):
        what = {"cuda": "CUDA graphics card", "mps": "Apple GPU", "cpu": "processor"}
        last = "" if count == 1 else f" to '{kind}:{count - 1}'"
        raise BadSetting(
            f"There is no device '{name}'. The number of {what[kind]}s here is "
            f"{count}: '{kind}:0'{last}. Choose one of these, or 'auto'."
        )
    return torch.device(name)


def describe_devices(devices: Sequence[torch.device]) -> str:
    """Return devices in words, e.g. "2 x NVIDIA A40, bfloat16"."""
    counts = Counter(describe_device(device) for device in devices)
    return " and ".join(
        words if count == 1 else f"{count} x {words}" for words, count in counts.items()
    )


def describe_device(device: torch.device) -> str:
    """Return the device in words, e.g. "CPU, 2 threads, bfloat16"."""
    precision = "bfloat16" if has_fast_bfloat16(device) else "float32"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    if device.type == "mps":
        return f"Apple GPU, {precision}"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}, {precision}"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether convolutions in bfloat16 are done by hardware on this device.

    Measured on processors with AVX512-BF16: training 1.5 to 1.8 times and inference
    2 to 2.6 times faster than float32, PSNR equal to 0.01 dB. Elsewhere the format
    is emulated and slower, so it is left off.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):  # it asks the current card, whichever that is
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def mixed_precision(device: torch.device) -> torch.autocast:
    """Return the context for the network; head and likelihood stay outside it."""
    return torch.autocast(
        device.type, dtype=torch.bfloat16, enabled=has_fast_bfloat16(device)
    )


def default_threads() -> int:
    """Return the number of processors that this process may use, less one.

    Threads of one computation wait for each other. As soon as anything else needs a
    processor, all wait for the one that lost it: measured on two busy processors, two
    threads took up to 40 times as long for a training step as one.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, available - 1)


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Compute with `count` threads inside, and as before outside.

    Parameters
    ----------
    count : None for `default_threads()`
    """
    before = torch.get_num_threads()
    torch.set_num_threads(default_threads() if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
