"""What each method reaches in the same CPU seconds, and how long a figure takes.

    python benchmarks/equal_time.py FOLDER --data-set w2s --seconds 90 --seeds 0 1
    python benchmarks/equal_time.py FOLDER --reach --target-psnr 30.7 --threads 2

Every method gets the same seconds for everything it needs: pretraining, pseudo ground
truth, fits, training, choice of inference. A dry run turns seconds into steps. Scoring
is not counted, and neither is denoising the frames, which `speed.py` measures.

"n2v-published-replacement" is Noise2Void with random neighbours in place of masked
pixels and the same network; "supervised" is that network trained on the truth.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from common import (
    BENCHMARKS,
    Benchmark,
    add_shared_options,
    cpu_seconds,
    load_benchmark,
    psnr,
    report,
)
from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.events import Event, Notice, StepDone, Validated, drain
from napari_ppn2v.pipeline.journeys import train_denoiser
from napari_ppn2v.pipeline.presets import preset
from napari_ppn2v.stop import StopToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np

    from napari_ppn2v.core.denoiser import Denoiser
    from napari_ppn2v.pipeline.config import RunConfig

BASELINE, SUPERVISED = "n2v-published-replacement", "supervised"
METHODS = (BASELINE, "n2v", "pn2v", "refined", SUPERVISED)
WAYS = {
    "prior mean": ("prior-mean", False),
    "MMSE": ("mmse", False),
    "blind prior mean": ("prior-mean", True),
    "blind MMSE": ("mmse", True),
    "refined": ("refined", False),
}
CPU = torch.device("cpu")
FEWEST_STEPS, MOST_STEPS = 20, 10_000_000

Row = dict[str, Any]


# --- Methods ---------------------------------------------------------------------


def config_of(method: str, seed: int) -> RunConfig:
    """Return the settings of a method."""
    name = {BASELINE: "n2v", SUPERVISED: "care"}.get(method, method)
    config = preset("balanced", method=name, seed=seed)
    if method != BASELINE:
        return config
    return replace(
        config,
        pretraining=replace(config.pretraining, replacement="random"),
        training=replace(config.training, replacement="random"),
    )


def train(
    method: str,
    benchmark: Benchmark,
    config: RunConfig,
    on_event: Callable[[Event], None],
) -> Denoiser:
    """Train one method from the start; only "supervised" looks at the truth."""
    targets = [as_frames(benchmark.truth, "TYX")] if method == SUPERVISED else None
    run = train_denoiser(
        [as_frames(benchmark.noisy, "TYX")],
        config,
        targets=targets,
        device=CPU,
        stop=StopToken(),
    )
    return drain(run, on_event).denoiser


# --- Seconds and steps -----------------------------------------------------------


@dataclass
class StageClock:
    """Sorts the seconds between events into steps, validations and all the rest.

    Attributes
    ----------
    steps, validations
        Seconds of each training step but the first and of each validation, by stage.
    fixed
        Seconds that do not depend on the number of steps, by stage.
    """

    trainings: tuple[str, ...]
    clock: Callable[[], float] = cpu_seconds
    steps: dict[str, list[float]] = field(default_factory=dict)
    validations: dict[str, list[float]] = field(default_factory=dict)
    fixed: dict[str, float] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def __call__(self, event: Event) -> None:
        """Take the time since the event before."""
        now = self.clock()
        passed, self._last = now - self._last, now
        stage = getattr(event, "stage", "between")
        if isinstance(event, Notice):
            self.notices.append(event.message)
        is_training = stage in self.trainings
        if is_training and isinstance(event, Validated):
            self.validations.setdefault(stage, []).append(passed)
        elif is_training and isinstance(event, StepDone) and event.step > 1:
            self.steps.setdefault(stage, []).append(passed)
        else:
            self.fixed[stage] = self.fixed.get(stage, 0.0) + passed

    def restart(self) -> None:
        """Leave out what was done since the last event, by whoever listens."""
        self._last = self.clock()

    def finish(self) -> None:
        """Count what came after the last event."""
        now = self.clock()
        self.fixed["between"] = self.fixed.get("between", 0.0) + now - self._last
        self._last = now

    def seconds_by_stage(self) -> dict[str, float]:
        """All seconds of each stage."""
        stages = dict.fromkeys([*self.trainings, *self.fixed])
        return {
            stage: sum(self.steps.get(stage, []))
            + sum(self.validations.get(stage, []))
            + self.fixed.get(stage, 0.0)
            for stage in stages
        }

    @property
    def total(self) -> float:
        """All seconds."""
        return sum(self.seconds_by_stage().values())

    def predicted(self, config: RunConfig) -> float:
        """Seconds that a run with these settings would take."""
        seconds = sum(self.fixed.values())
        for stage, training in config.stages.items():
            if stage not in self.steps:
                continue  # a calibrated PN2V from scratch goes without Noise2Void
            n_validations = -(-training.n_steps // training.steps_per_validation)
            seconds += training.n_steps * statistics.median(self.steps[stage])
            seconds += n_validations * statistics.median(self.validations[stage])
        return seconds

    def steps_within(
        self,
        config: RunConfig,
        seconds: float,
        with_steps: Callable[[int], RunConfig] | None = None,
    ) -> int:
        """Most steps, in all stages together, that fit into a budget.

        `with_steps` shares a number of steps among the stages, as the settings do by
        themselves if it is not given.
        """
        share = with_steps or config.with_steps
        low, high = FEWEST_STEPS, MOST_STEPS
        while high - low > 1:
            middle = (low + high) // 2
            if self.predicted(share(middle)) <= seconds:
                low = middle
            else:
                high = middle
        return low


def timed_run(
    method: str,
    benchmark: Benchmark,
    config: RunConfig,
    clock: Callable[[], float] = cpu_seconds,
) -> tuple[Denoiser, StageClock]:
    """Train a method and take the time of its stages."""
    times = StageClock(tuple(config.stages), clock)
    denoiser = train(method, benchmark, config, times)
    times.finish()
    return denoiser, times


def dry_run(
    method: str,
    benchmark: Benchmark,
    n_steps: int,
    clock: Callable[[], float] = cpu_seconds,
) -> StageClock:
    """Time a short run with all its stages."""
    config = config_of(method, 0)
    n_steps *= len(config.stages)
    return timed_run(method, benchmark, config.with_steps(n_steps), clock)[1]


# --- Scores ----------------------------------------------------------------------


def score_ways(
    denoiser: Denoiser, benchmark: Benchmark, frames: Iterable[int]
) -> dict[str, tuple[float, float]]:
    """Mean PSNR (dB) of each estimate on (whole frames, the crops of `crop_psnr`).

    The crops are those of the same frames, cut out of the whole estimates.
    """
    scores: dict[str, list[tuple[float, float]]] = {}
    for index in frames:
        truth = benchmark.truth[index]
        peak = float(truth.max() - truth.min())
        region = benchmark.scored_region
        for way, estimate in _estimates(denoiser, benchmark.noisy[index]).items():
            whole = psnr(estimate, truth, peak)
            crop = psnr(estimate[region], truth[region], peak)
            scores.setdefault(way, []).append((whole, crop))
    return {
        way: (
            statistics.fmean(w for w, _ in found),
            statistics.fmean(c for _, c in found),
        )
        for way, found in scores.items()
    }


def _estimates(denoiser: Denoiser, frame: np.ndarray) -> dict[str, np.ndarray]:
    """All estimates that a denoiser can give; one pass serves mean and MMSE."""
    found = {}
    can_be_blind = denoiser.training_blindness is not None
    for blind in (False, True) if can_be_blind else (False,):
        way = replace(denoiser, estimate="prior-mean", is_blind=blind)
        estimate = way.estimate_image(frame)
        prefix = "blind " if blind else ""
        found[f"{prefix}prior mean"] = estimate.prior_mean
        if estimate.mmse is not None and denoiser.model.n_samples > 1:
            found[f"{prefix}MMSE"] = estimate.mmse
    if denoiser.refined is not None:
        way = replace(denoiser, estimate="refined", is_blind=False)
        found["refined"] = way.result(way.estimate_image(frame))
    return found


def chosen_way(denoiser: Denoiser) -> str:
    """Name in `WAYS` of what the denoiser gives by itself."""
    wanted = (denoiser.estimate, denoiser.is_blind)
    return next(name for name, way in WAYS.items() if way == wanted)


def score_rows(
    method: str,
    seed: int,
    n_steps: int,
    seconds: float,
    denoiser: Denoiser,
    scores: dict[str, tuple[float, float]],
) -> list[Row]:
    """One row for whole frames and one for the crops."""
    chosen = chosen_way(denoiser)
    return [
        {
            "method": method,
            "seed": seed,
            "scored on": where,
            "steps": n_steps,
            "CPU s": round(seconds, 1),
            **{way: _dB(scores[way][k]) if way in scores else "" for way in WAYS},
            "chosen": chosen,
            "chosen PSNR": _dB(scores[chosen][k]),
        }
        for k, where in enumerate(("frames", "crops"))
    ]


def _dB(value: float) -> str:
    return f"{value:.3f}"


# --- Tables ----------------------------------------------------------------------


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Mean ± standard error over seeds, and differences paired by seed, in dB."""
    summary = []
    for where in dict.fromkeys(row["scored on"] for row in rows):
        here = [row for row in rows if row["scored on"] == where]
        by_method = {
            method: {row["seed"]: row for row in here if row["method"] == method}
            for method in dict.fromkeys(row["method"] for row in here)
        }
        for method, by_seed in by_method.items():
            chosen = _column(by_seed, "chosen PSNR")
            summary.append(
                {
                    "method": method,
                    "scored on": where,
                    "seeds": len(by_seed),
                    "chosen": ", ".join({row["chosen"]: 0 for row in by_seed.values()}),
                    "PSNR": mean_and_error(list(chosen.values())),
                    "to published replacement": _difference(
                        chosen, _column(by_method.get(BASELINE, {}), "chosen PSNR")
                    ),
                    "to supervised": _difference(
                        chosen, _column(by_method.get(SUPERVISED, {}), "chosen PSNR")
                    ),
                    "MMSE - prior mean": _difference(
                        _column(by_seed, "MMSE"), _column(by_seed, "prior mean")
                    ),
                    "the same, blind": _difference(
                        _column(by_seed, "blind MMSE"),
                        _column(by_seed, "blind prior mean"),
                    ),
                }
            )
    return summary


def _column(by_seed: dict[int, Row], name: str) -> dict[int, float]:
    return {seed: float(row[name]) for seed, row in by_seed.items() if row[name] != ""}


def _difference(first: dict[int, float], second: dict[int, float]) -> str:
    both = [first[seed] - second[seed] for seed in first if seed in second]
    return mean_and_error(both, signed=True) if both else ""


def mean_and_error(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± standard error; n = 1 where there is no error to give."""
    mean = statistics.fmean(values)
    shown = f"{mean:+.3f}" if signed else f"{mean:.3f}"
    if len(values) < 2:
        return f"{shown} (n = 1)"
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{shown} ± {error:.3f}"


def noisy_rows(benchmark: Benchmark, frames: Sequence[int]) -> list[Row]:
    """Score the noisy input, to be reported beside every result."""
    region = benchmark.scored_region
    rows = []
    for where in ("frames", "crops"):
        part = (slice(None), slice(None)) if where == "frames" else region
        scores = []
        for index in frames:
            truth = benchmark.truth[index]
            peak = float(truth.max() - truth.min())
            scores.append(psnr(benchmark.noisy[index][part], truth[part], peak))
        rows.append({"input": benchmark.name, "scored on": where})
        rows[-1] |= {"frames": len(frames), "noisy PSNR": _dB(statistics.fmean(scores))}
    return rows


# --- Command line ----------------------------------------------------------------


def compare(options: argparse.Namespace, benchmark: Benchmark) -> None:
    """Run all methods for all seeds and report."""
    frames = _frames(options, benchmark)
    prefix = f"equal-time-{benchmark.name}"
    report("Noisy input", f"{prefix}-noisy", noisy_rows(benchmark, frames), options.out)
    plans = {
        method: dry_run(method, benchmark, options.dry_run_steps)
        for method in options.methods
    }
    rows: list[Row] = []
    stages: list[Row] = []
    for seed in options.seeds:
        for method, plan in plans.items():
            config = config_of(method, seed)
            n_steps = plan.steps_within(config, options.seconds)
            config = config.with_steps(n_steps)
            denoiser, times = timed_run(method, benchmark, config)
            scores = score_ways(denoiser, benchmark, frames)
            new = score_rows(method, seed, n_steps, times.total, denoiser, scores)
            rows += new
            for stage, seconds in times.seconds_by_stage().items():
                stages.append({"method": method, "seed": seed, "stage": stage})
                stages[-1]["CPU s"] = round(seconds, 2)
            print(new, denoiser.reason, flush=True)
    title = f"{benchmark.name}, {options.seconds:g} CPU s for each method"
    report(title, prefix, rows, options.out)
    report(f"{title}: stages", f"{prefix}-stages", stages, options.out)
    report(f"{title}: summary", f"{prefix}-summary", summarise(rows), options.out)


def reach(options: argparse.Namespace, benchmark: Benchmark) -> None:
    """Run the default with growing budgets until it reaches a PSNR."""
    method = preset("balanced").method
    frames = _frames(options, benchmark)
    wall = time.perf_counter
    plan = dry_run(method, benchmark, options.dry_run_steps, wall)
    rows: list[Row] = []
    column = 0 if options.score == "frames" else 1
    for budget in options.budgets:
        config = config_of(method, options.seeds[0])
        n_steps = plan.steps_within(config, budget)
        cpu = cpu_seconds()
        denoiser, times = timed_run(method, benchmark, config.with_steps(n_steps), wall)
        cpu = cpu_seconds() - cpu
        chosen = chosen_way(denoiser)
        reached = score_ways(denoiser, benchmark, frames)[chosen][column]
        rows.append(
            {
                "method": method,
                "steps": n_steps,
                "wall s": round(times.total, 1),
                "CPU s": round(cpu, 1),
                "threads": options.threads,
                "chosen": chosen,
                f"PSNR on {options.score}": _dB(reached),
                "target": options.target_psnr,
                "reached": reached >= options.target_psnr,
            }
        )
        print(rows[-1], flush=True)
        if reached >= options.target_psnr:
            break
    title = f"Time to reach {options.target_psnr} dB on {benchmark.name}"
    report(title, f"reach-{benchmark.name}", rows, options.out)


def _frames(options: argparse.Namespace, benchmark: Benchmark) -> list[int]:
    every = range(len(benchmark.noisy))
    return list(every if options.all_frames else benchmark.scored_frames)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("data", help="folder of the data sets")
    parser.add_argument("--data-set", choices=BENCHMARKS, default="w2s")
    parser.add_argument("--seconds", type=float, default=90.0, help="CPU s per method")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--dry-run-steps", type=int, default=60, help="of each stage, to time it"
    )
    parser.add_argument(
        "--all-frames",
        action="store_true",
        help="score every frame in place of 1, 4, …, 22, which takes three times as "
        "long",
    )
    parser.add_argument(
        "--reach", action="store_true", help="time until the default reaches a PSNR"
    )
    parser.add_argument("--target-psnr", type=float, default=30.7)
    parser.add_argument("--score", choices=("frames", "crops"), default="crops")
    parser.add_argument(
        "--budgets",
        type=float,
        nargs="+",
        default=[15, 20, 25, 30, 40, 60, 90],
        help="wall s to try with --reach, until one is enough",
    )
    add_shared_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare methods, or find the time to reach a figure."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    benchmark = load_benchmark(options.data, options.data_set)
    (reach if options.reach else compare)(options, benchmark)


if __name__ == "__main__":
    main()
