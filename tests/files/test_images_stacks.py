"""Folders of TIFFs are one stack, whose axes are read from names only where sure."""

from __future__ import annotations

import os
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadData, BadFile
from napari_ppn2v.files import stacks
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.name_patterns import named_grid


def noisy(*shape, dtype="uint16"):
    return np.random.default_rng(0).integers(90, 4000, shape).astype(dtype)


class TestNames:
    @pytest.mark.parametrize(
        ("names", "axes", "sizes"),
        [
            (["t1.tif", "t2.tif", "t10.tif"], "T", (3,)),
            (["img_z03.tif", "img_z1.tif"], "Z", (2,)),
            (["a_ch0.tif", "a_ch1.tif"], "C", (2,)),
            (
                [
                    f"exp_T{t:03}_Z{z:02}_C{c}.TIF"
                    for t, z, c in product((5, 7), (1, 2), (0, 1))
                ],
                "TZC",
                (2, 2, 2),
            ),
            (
                [
                    f"img_channel00{c}_position000_time00000000{t}_z000.tif"
                    for c, t in product(range(2), range(3))
                ],
                "TC",
                (3, 2),
            ),
        ],
    )
    def test_alike_up_to_t_z_and_c_give_axes(self, names, axes, sizes):
        grid = named_grid(names)
        assert (grid.axes, grid.sizes) == (axes, sizes)

    def test_are_laid_out_with_the_last_axis_fastest(self):
        names = [f"c{c}_z{z}.tif" for c, z in product((1, 0), (2, 1, 10))]
        grid = named_grid(names)
        assert grid.axes == "ZC"
        assert [names[at] for at in grid.order] == [
            f"c{c}_z{z}.tif" for z, c in product((1, 2, 10), (0, 1))
        ]

    @pytest.mark.parametrize(
        "names",
        [
            ["frame1.tif", "frame2.tif"],  # no such letters
            ["abc1.tif", "abc2.tif"],  # a c that ends a word
            ["t1_x1.tif", "t2_x2.tif"],  # differ elsewhere too
            ["t1.tif", "t2b.tif"],
            ["t1.tif", "z1.tif"],
            ["t1.tif", "t01.tif", "t2.tif"],
            ["mouse_c57_001.tif", "mouse_c57_002.tif"],
        ],
    )
    def test_that_are_not_sure_give_none(self, names):
        assert named_grid(names) is None

    def test_of_an_incomplete_stack_name_what_is_missing(self):
        names = [f"t{t}_z{z}.tif" for t, z in product(range(3), range(3))]
        del names[4]
        with pytest.raises(
            BadFile, match=r"9 images \(T x Z\), .* 1 is missing: t 1, z 1"
        ):
            named_grid(names)

    def test_of_channels_that_could_be_mixed_are_refused(self):
        names = [f"pos{p}_c{c}.tif" for p, c in product("12", "01")]
        with pytest.raises(BadFile, match="channels could be mixed up"):
            named_grid(names)


def folder_of(path, names, frames, **options):
    path.mkdir()
    for name, frame in zip(names, frames, strict=True):
        tifffile.imwrite(path / name, frame, **options)
    return path


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_folder_is_a_stack_with_the_axes_of_its_names(
    tmp_path, compression, byteorder
):
    image = noisy(2, 3, 2, 20, 30)
    names = [f"s_c{c}_z{z}_t{t}.tif" for t, z, c in np.ndindex(2, 3, 2)]
    options = {"compression": compression, "byteorder": byteorder}
    frames = image.reshape(-1, 20, 30)
    source = open_image(folder_of(tmp_path / "day1", names, frames, **options))
    assert (source.axes, source.shape) == ("TZCYX", image.shape)
    assert source.name == "day1"
    assert source.metadata["stack"] == "12 files, by their names T=2, Z=3, C=2"
    np.testing.assert_array_equal(source.data, image)
    found = as_frames(source.data, source.axes, channel=1)
    np.testing.assert_array_equal(found.frame(4), image[1, 1, 1])


def test_other_names_give_one_axis_and_the_message_says_so(tmp_path):
    image = noisy(11, 20, 30)
    names = [f"frame{number}.tif" for number in range(11)]
    source = open_image(folder_of(tmp_path / "a", names, image))
    assert source.axes == "TYX"
    assert "11 files joined along T" in source.metadata["stack"]
    np.testing.assert_array_equal(source.data, image)


def test_stacks_of_one_time_each_are_joined_by_their_names(tmp_path):
    image = noisy(3, 4, 20, 30)
    names = [f"t{number}.tif" for number in range(3)]
    options = {"imagej": True, "metadata": {"axes": "ZYX"}}
    source = open_image(folder_of(tmp_path / "a", names, image, **options))
    assert source.axes == "TZYX"
    np.testing.assert_array_equal(source.data, image)


def test_stacks_whose_own_axis_is_that_of_the_names_are_joined_along_it(tmp_path):
    image = noisy(6, 20, 30)
    options = {"imagej": True, "metadata": {"axes": "TYX"}}
    folder = folder_of(
        tmp_path / "a", ["t0.tif", "t1.tif"], [image[:2], image[2:]], **options
    )
    source = open_image(folder)
    assert source.axes == "TYX"
    np.testing.assert_array_equal(source.data, image)


def test_all_files_of_another_shape_are_named(tmp_path):
    frames = [noisy(20, 30)] * 3 + [noisy(20, 31)] * 5
    names = [f"f{number}.tif" for number in range(8)]
    with pytest.raises(BadFile, match=r"f3\.tif is 20 x 31 .* and 2 more"):
        open_image(folder_of(tmp_path / "a", names, frames))


def test_a_file_that_changes_after_opening_is_an_error_not_wrong_pixels(tmp_path):
    folder = folder_of(tmp_path / "a", ["t0.tif", "t1.tif"], noisy(2, 20, 30))
    frames = as_frames(open_image(folder).data, "TYX")
    tifffile.imwrite(folder / "t1.tif", noisy(40, 30))
    frames.frame(0)
    with pytest.raises((BadFile, BadData), match="has changed"):
        frames.frame(1)


def n_open():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_thousands_of_files_are_not_open_at_once(tmp_path):
    n_files = 3 * stacks.OPEN_AT_A_TIME
    names = [f"f{number}.tif" for number in range(n_files)]
    frames = noisy(n_files, 20, 30)
    folder = folder_of(tmp_path / "a", names, frames, compression="zlib")
    before = n_open()
    source = open_image(folder)
    np.testing.assert_array_equal(source.data, frames)
    assert n_open() <= before + stacks.OPEN_AT_A_TIME + 2


def test_the_command_line_takes_a_folder_as_one_stack_if_asked(tmp_path):
    from napari_ppn2v.pipeline.inputs import find_images, open_noisy

    folder = folder_of(tmp_path / "a", ["t0.tif", "t1.tif"], noisy(2, 20, 30))
    assert len(find_images([folder])) == 2
    (path,) = find_images([folder], as_stack=True)
    assert path == Path(os.path.realpath(folder))
    (image,) = open_noisy((path,), None, None, "")
    assert len(image.frames[0]) == 2
    assert image.describe().endswith("2 files, by their names T=2")
