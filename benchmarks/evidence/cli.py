"""The command line: an experiment each, and the parts that they share."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from evidence.jobs import answer_job

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path("docs") / "results"
WORK = Path("evidence-work")

EXPERIMENTS = {
    "table0": "what serves as calibration, second image and target, or why not",
    "table1": "all methods on all data sets: PSNR, SSIM, time and memory",
    "table2": "noise models: Gaussians, coefficients, histograms, cameras",
    "table3": "calibration that covers part of the signals (Fig. 3a too)",
    "fig3b": "calibration with fewer pixels",
    "fig4": "pictures of noise models from whole and reduced calibration",
    "convergence": "PSNR against time and steps, ours and the peers' own code",
    "bsd68": "photographs with added noise, beside the Noise2Void paper's figures",
    "noise-levels": "PSNR against the noise that is added to photographs",
    "failures": "bright single pixels and structured noise: where it must fail",
    "details": "invented structure, small bright things, resolution",
    "data-limits": "few or many frames, little or much light, bit depths (simulated)",
    "runtime": "denoising time of networks against BM3D and non-local means",
    "panels": "pictures side by side, from the estimates that table1 keeps",
}
"""Name -> one line of help; each is a module `evidence.experiments.NAME`."""


class Experiment(Protocol):
    """What a module of `evidence.experiments` offers."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of this experiment to the shared ones."""

    def run(self, options: argparse.Namespace) -> None:
        """Do what is not done yet, keeping each finished run in the CSV file."""

    def report(self, out: Path) -> None:
        """Make tables and figures from the CSV files in `out` alone."""


def experiment(name: str) -> Experiment:
    """Return the module of an experiment, loaded when it is needed."""
    module = importlib.import_module(f"evidence.experiments.{name.replace('-', '_')}")
    return cast("Experiment", module)


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evidence", description="Every method of both papers, side by side."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in EXPERIMENTS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("data", type=Path, help="folder of the data sets")
        command.add_argument("--out", type=Path, default=RESULTS)
        command.add_argument(
            "--work",
            type=Path,
            default=WORK,
            help="folder for what is worth keeping between runs but not the results",
        )
        command.add_argument(
            "--workers",
            type=int,
            default=1,
            help="runs side by side, a process and thread each; 0: in this process",
        )
        if name == chosen:
            experiment(name).add_options(command)
    report = commands.add_parser("report", help="tables and figures from the CSV files")
    report.add_argument("names", nargs="*", help="experiments; all by default")
    report.add_argument("--out", type=Path, default=RESULTS)
    job = commands.add_parser("run-job", help="one run; used by the experiments")
    job.add_argument("job")
    job.add_argument("answer", type=Path)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment, or report what there is."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    chosen = next((word for word in words if word in EXPERIMENTS), None)
    options = _parser(chosen).parse_args(words)
    if options.command == "run-job":
        answer_job(options.job, options.answer)
    elif options.command == "report":
        for name in options.names or EXPERIMENTS:
            experiment(name).report(options.out)
    else:
        found = experiment(options.command)
        found.run(options)
        found.report(options.out)
    return 0
