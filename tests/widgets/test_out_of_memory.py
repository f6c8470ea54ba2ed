"""Memory that really runs out ends a run in words, and never the viewer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ALONE = 300.0  # s, for a program
MORE = 1_000_000_000  # bytes that the program may take beside what it has


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on memory")
def test_a_huge_batch_ends_in_words_and_the_next_run_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", __name__, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=ALONE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    noted = json.loads(done.stdout.splitlines()[-1])
    assert noted["first"][0] == "failed"
    assert noted["first"][1].startswith("Memory ran out"), noted
    assert noted["next"][0] == "finished", noted
    assert noted["layers"] == 2


def program(folder: Path) -> None:
    """Denoise with a batch that no memory holds, then with a small one."""
    import resource

    import napari
    import numpy as np
    import psutil

    from napari_ppn2v.pipeline import recovery, stack_job
    from tests.widgets.test_closing import without_graphics_card
    from tests.widgets.test_recovery_in_dock import open_dock, tiny

    assert stack_job is not None  # loaded before the limit
    without_graphics_card()
    recovery.recovery_root = lambda: folder / "recovery"
    app = napari.qt.get_qapp()
    viewer = napari.Viewer(show=False)
    rng = np.random.default_rng(0)
    noisy = rng.poisson(40.0, (2, 512, 512)).astype(np.uint16)
    viewer.add_image(noisy, name="cells")
    _, panel = open_dock(viewer)
    panel.settings.computing.threads.setValue(1)

    def run(config) -> tuple[str, str]:
        panel.settings.set_config(config)
        panel.start.button.click()
        while panel.session.is_busy:
            app.processEvents()
        state = panel.session.state
        return state.status.value, state.message

    limit = psutil.Process().memory_info().vms + MORE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    small = tiny(5)
    huge = replace(small.pretraining, batch_size=1024, patch_size=512)
    noted = {"first": run(replace(small, pretraining=huge, refinement=huge))}
    noted["next"] = run(small)
    noted["layers"] = len(viewer.layers)
    sys.stdout.write(json.dumps(noted) + "\n")
    sys.stdout.flush()
    viewer.close()


if __name__ == "__main__":
    program(Path(sys.argv[1]))
