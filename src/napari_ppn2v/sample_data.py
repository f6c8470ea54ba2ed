"""What the viewer offers under File > Open Sample."""

# No future annotations here: napari reads the types of what it calls.

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_ppn2v.errors import Busy
from napari_ppn2v.files.downloads import Amount, Archive, fetch

LayerData = tuple[Any, dict[str, Any], str]

SAMPLES = Path(__file__).parent / "samples"
_MICROMETRES = 0.1  # pixel of the simulated recordings
_N_FRAMES = 25  # odd: the viewer opens the middle one, which then shows filaments
_ZENODO = "https://zenodo.org/records"


@dataclass(frozen=True)
class DataSet:
    """A published recording with its calibration, in one archive.

    Attributes
    ----------
    title
        Name shown in the viewer.
    archive
        Where it is; its two members are the noisy stack and the calibration recording.
    reference
        What to cite.
    """

    title: str
    archive: Archive
    reference: str


_PAPER = (
    "Prakash, M., Lalit, M., Tomancak, P., Krull, A., Jug, F. Fully Unsupervised "
    "Probabilistic Noise2Void. ISBI 2020."
)

DATA_SETS = {
    "convallaria": DataSet(
        "Convallaria",
        Archive(
            f"{_ZENODO}/5156913/files/Convallaria_diaphragm.zip?download=1",
            (
                "20190520_tl_25um_50msec_05pc_488_130EM_Conv.tif",
                "20190726_tl_50um_500msec_wf_130EM_FD.tif",
            ),
            n_bytes=344_000_000,
            checksum="md5:7b8df3a83939decaede6753b8d38b52f",
        ),
        f"{_PAPER} doi:10.5281/zenodo.5156913",
    ),
    "mouse_actin": DataSet(
        "Mouse actin",
        Archive(
            f"{_ZENODO}/5156937/files/Mouse%20actin.zip?download=1",
            ("sample_attempt2.tif", "diaphragm.tif"),
        ),
        f"{_PAPER} doi:10.5281/zenodo.5156937",
    ),
    "mouse_skull_nuclei": DataSet(
        "Mouse skull nuclei",
        Archive(
            f"{_ZENODO}/5156960/files/Mouse%20skull%20nuclei.zip?download=1",
            ("example2_digital_offset300.tif", "edgeoftheslide_300offset.tif"),
        ),
        f"{_PAPER} doi:10.5281/zenodo.5156960",
    ),
}

_being_fetched: set[str] = set()


def simulated_emccd() -> list[LayerData]:
    """Simulate a stack of an EMCCD camera, its calibration recording and the truth.

    The same pixels each time. Calibration and truth are hidden at first.
    """
    from napari_ppn2v.core.camera import Camera, simulate_calibration, simulate_stack

    camera = Camera("emccd", gain=20.0, offset=300.0, read_noise=15.0)
    stack = simulate_stack(
        camera, n_frames=_N_FRAMES, size=256, peak_electrons=60.0, seed=1
    )
    # as many frames as the recording, so that no position of the slider is empty
    calibration = simulate_calibration(
        camera, n_repeats=_N_FRAMES, size=256, peak_electrons=90.0, seed=2
    )
    place = {
        "scale": (1.0, _MICROMETRES, _MICROMETRES),
        "units": ("pixel", "µm", "µm"),
        "axis_labels": ("t", "y", "x"),
    }
    limits = _limits(stack.observation)
    description = (
        f"Simulated EMCCD camera: gain {camera.gain:g} grey values per electron, "
        f"offset {camera.offset:g}, read noise {camera.read_noise:g} grey values."
    )
    layers = {
        "EMCCD recording": (stack.observation, limits, True),
        "EMCCD calibration": (calibration.observation, None, False),
        "EMCCD truth": (stack.signal, limits, False),
    }
    # the first of the list is the lowest in the viewer: the recording goes on top
    return [
        _layer(name, data, description, limits=shown, visible=visible, **place)
        for name, (data, shown, visible) in reversed(layers.items())
    ]


def tirf_scmos() -> list[LayerData]:
    """Open 20 exposures of microtubules by TIRF microscopy, recorded by an sCMOS."""
    from napari_ppn2v.files.images import open_image

    data = np.asarray(open_image(SAMPLES / "tirf_scmos.tif").data)
    return [
        _layer(
            "TIRF, sCMOS",
            data,
            (SAMPLES / "README.md").read_text(encoding="utf-8"),
            limits=_limits(data),
            scale=(1.0, 0.065, 0.065),
            units=("pixel", "µm", "µm"),
            axis_labels=("t", "y", "x"),
        )
    ]


def convallaria() -> list[LayerData]:
    """Download (once) and open Convallaria, with its calibration recording."""
    return open_data_set("convallaria")


def mouse_actin() -> list[LayerData]:
    """Download (once) and open Mouse actin, with its calibration recording."""
    return open_data_set("mouse_actin")


def mouse_skull_nuclei() -> list[LayerData]:
    """Download (once) and open Mouse skull nuclei, with its calibration recording."""
    return open_data_set("mouse_skull_nuclei")


def data_folder(key: str) -> Path:
    """Return the folder in the user's cache where a downloaded data set is kept."""
    import platformdirs

    return platformdirs.user_cache_path("napari-ppn2v", appauthor=False) / key


def open_data_set(key: str) -> list[LayerData]:
    """Return the layers of a data set, fetched from the internet the first time.

    While it is fetched the window stays alive, and napari's activity dock shows how
    far it is.

    Raises
    ------
    CannotDownload, CannotWrite  See `files.downloads.fetch`.
    Busy  If it is being fetched already.
    """
    from napari_ppn2v.widgets.waiting import wait_for

    data_set = DATA_SETS[key]
    if key in _being_fetched:
        raise Busy(
            f"{data_set.title} is being downloaded already. Its layers appear as soon "
            "as it is complete; the activity button at the lower right shows how far "
            "it is."
        )

    def download(amount: Amount) -> list[Path]:
        return fetch(data_set.archive, data_folder(key), amount)

    _being_fetched.add(key)
    try:
        paths = wait_for(download, title=f"Downloading {data_set.title}")
    finally:
        _being_fetched.discard(key)
    names = (data_set.title, f"{data_set.title}, calibration")
    shown = zip(reversed(paths), reversed(names), (False, True), strict=True)
    return [
        _lazy_layer(path, name, data_set, is_shown) for path, name, is_shown in shown
    ]


def _lazy_layer(path: Path, name: str, data_set: DataSet, visible: bool) -> LayerData:
    """Layer whose frames are read when they are looked at."""
    from napari_ppn2v.files.images import open_image
    from napari_ppn2v.widgets.layers.open_file import as_dask

    source = open_image(path)
    data = as_dask(source.data)
    first = np.asarray(source.data[(0,) * (len(source.shape) - 2)])
    axes = source.axes or "TZCYX"[-len(source.shape) :]
    axes = "TYX" if len(source.shape) == 3 and axes == "CYX" else axes
    sizes = [source.pixel_size.get(axis) for axis in axes]
    return _layer(
        name,
        data,
        data_set.reference,
        limits=_limits(first),
        visible=visible,
        scale=tuple(size.size if size else 1.0 for size in sizes),
        units=tuple(size.unit or "pixel" if size else "pixel" for size in sizes),
        axis_labels=tuple(axes.lower()),
    )


def _limits(data: Any) -> tuple[float, float]:
    """Contrast limits that a few hot pixels do not spoil."""
    low, high = (float(value) for value in np.percentile(data, (0.5, 99.8)))
    return low, max(high, low + 1)


def _layer(
    name: str,
    data: Any,
    description: str,
    *,
    limits: tuple[float, float] | None = None,
    **place: Any,
) -> LayerData:
    attributes = {"name": name, "metadata": {"description": description}, **place}
    if limits is not None:
        attributes["contrast_limits"] = limits
    return data, attributes, "image"
