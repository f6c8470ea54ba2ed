"""Do the runs of an experiment that are not done yet and keep each as it ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from evidence.jobs import Job, RunFailed, run_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from evidence.ledger import Ledger, Row

Key = dict[str, Any]


def fill(
    ledger: Ledger,
    wanted: Iterable[tuple[Key, Job]],
    workers: int,
    rows_of: Callable[[Job, dict[str, Any]], list[Row]],
) -> int:
    """Run what the ledger lacks.

    Parameters
    ----------
    wanted : what names each run in the ledger, and the run
    rows_of : (job, its result) -> columns beside the key, a row each

    Returns
    -------
    How many runs failed; their last words are on stderr, and a next call tries again.
    """
    missing = [(key, job) for key, job in wanted if not ledger.has(**key)]
    keys = {id(job): key for key, job in missing}
    failed = 0
    for job, result in run_all([[job] for _, job in missing], workers):
        if isinstance(result, RunFailed):
            print(result, file=sys.stderr, flush=True)
            failed += 1
            continue
        rows = rows_of(job, result)
        ledger.add([{**keys[id(job)], **row} for row in rows])
        print(f"{keys[id(job)]}: done", flush=True)
    return failed
