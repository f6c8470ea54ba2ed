"""Try thousands of damaged and hostile files on every reader, and count what happens.

    python benchmarks/fuzz.py --cases 20000
    python benchmarks/fuzz.py --cases 20000 --readers "model file" "TIFF, OME"
    python benchmarks/fuzz.py --cases 20000 --guided

Each reader runs in a process of its own, with its memory limited; a case that takes
longer than the limit, that ends the process or that raises anything but an error of
ours is a fault, and its file is kept. With `--guided` the cases are those that reach
new branches of our code, as Atheris (libFuzzer) finds them; only then it is needed,
`pip install atheris`. The readers, their valid files and the ways to damage them are
those of tests/hardening.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

SECONDS_PER_CASE = 20
GUIDED = ("napari_ppn2v.files", "napari_ppn2v.core", "napari_ppn2v.pipeline")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=300, help="of each reader")
    parser.add_argument("--readers", nargs="*", default=[])
    parser.add_argument("--memory", type=float, default=6, help="GB of each process")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("fuzz-faults"))
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def limit_memory(gigabytes: float) -> None:
    """Limit the address space, where the system can."""
    if sys.platform.startswith("linux"):
        import resource

        n_bytes = int(gigabytes * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))


class Trial:
    """One reader, its valid file, and what came of the cases."""

    def __init__(self, name: str, folder: Path, options: argparse.Namespace) -> None:
        from tests.hardening.readers import READERS

        self.name, self.reader, self.folder = name, READERS[name], folder
        self.options = options
        self.reader.write(folder / self.reader.name)
        self.valid = (folder / self.reader.name).read_bytes()
        self.count, self.slowest, self.faults = 0, 0.0, Counter[str]()
        self.started = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether all cases are done or the time is."""
        seconds = time.monotonic() - self.started
        return self.count >= self.options.cases or seconds > self.options.seconds

    def mutated(self, content: bytes, rng: random.Random) -> bytes:
        """Damage a file once, or a few times."""
        from tests.hardening.mutations import mutated_file

        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            content = mutated_file(self.reader.name, content, rng)
        return content

    def run(self, content: bytes) -> None:
        """Read one case; keep it if something goes wrong."""
        from tests.hardening.readers import fault_of

        last = self.options.out / f"last-{self.name.replace(' ', '-')}"
        last.write_bytes(content)  # stays there if the process does not
        faulthandler.dump_traceback_later(SECONDS_PER_CASE, exit=True)
        started = time.perf_counter()
        fault = fault_of(self.reader, content, self.folder)
        self.slowest = max(self.slowest, time.perf_counter() - started)
        faulthandler.cancel_dump_traceback_later()
        self.count += 1
        if fault is not None:
            words = f"{type(fault).__name__}: {str(fault)[:80]}"
            if not self.faults[words]:
                last.with_name(f"fault-{len(self.faults)}-{last.name}").write_bytes(
                    content
                )
            self.faults[words] += 1
        last.unlink()

    def report(self) -> None:
        """Write one row."""
        seconds = time.monotonic() - self.started
        row = (
            self.name,
            f"{self.count} cases",
            f"{1000 * seconds / max(self.count, 1):.1f} ms each",
            f"slowest {self.slowest:.2f} s",
            f"{sum(self.faults.values())} faults",
        )
        lines = [" | ".join(row), *(f"    {n} x {w}" for w, n in self.faults.items())]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()


def try_one(options: argparse.Namespace) -> None:
    """Try one reader in this process."""
    import torch

    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if options.guided:
            guided(options, Path(folder))
            return
        trial = Trial(options.one, Path(folder), options)
        limit_memory(options.memory)
        rng = random.Random(f"{options.seed} {options.one}")
        while not trial.is_over:
            trial.run(trial.mutated(trial.valid, rng))
        trial.report()


def guided(options: argparse.Namespace, folder: Path) -> None:
    """Let the branches that are reached choose the cases."""
    import atheris

    with atheris.instrument_imports(include=list(GUIDED)):
        import tests.hardening.readers  # noqa: F401
    trial = Trial(options.one, folder, options)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "valid").write_bytes(trial.valid)

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, most))
        return trial.mutated(bytes(data), rng)[:most]

    def once(data: bytes) -> None:
        if trial.is_over:
            trial.report()
            os._exit(0)  # libFuzzer knows no other end
        trial.run(data)

    flags = [f"-seed={options.seed + 1}", "-max_len=200000", "-rss_limit_mb=6000"]
    atheris.Setup(
        [sys.argv[0], *flags, "-verbosity=0", str(corpus)],
        once,
        custom_mutator=mutator,
    )
    atheris.Fuzz()


def main() -> int:
    """Try all readers, one process after the other; 1 if there was a fault."""
    options = arguments()
    if options.one:
        try_one(options)
        return 0
    from tests.hardening.readers import READERS

    failed = 0
    for name in options.readers or READERS:
        command: list[Any] = [sys.executable, __file__, *sys.argv[1:], "--one", name]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        row = done.stdout or f"{name} | ended with {done.returncode}\n{done.stderr}"
        sys.stdout.write(row)
        sys.stdout.flush()
        failed += done.returncode != 0 or " 0 faults" not in row
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
