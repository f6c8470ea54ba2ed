"""Every dialect that microscopes and programs write opens lazily and with its scale."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import tifffile
import zarr

from napari_ppn2v.core.frames import as_frames
from napari_ppn2v.errors import BadAxes, BadFile
from napari_ppn2v.files.images import open_image
from napari_ppn2v.files.lazy import RawArray


def stack(*shape, dtype=np.uint16, seed=0):
    return np.random.default_rng(seed).integers(90, 4000, shape).astype(dtype)


OME_SCALE = {
    "PhysicalSizeX": 0.1,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 200,
    "PhysicalSizeYUnit": "nm",
    "TimeIncrement": 1.5,
    "TimeIncrementUnit": "s",
}


class TestTiff:
    @pytest.mark.parametrize("compression", [None, "zlib"])
    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_ome_tiff(self, tmp_path, compression, byteorder):
        image = stack(3, 2, 40, 50)
        metadata = {"axes": "TCYX", "Channel": {"Name": ["DAPI", "GFP"]}, **OME_SCALE}
        tifffile.imwrite(
            tmp_path / "a.ome.tif",
            image,
            byteorder=byteorder,
            compression=compression,
            photometric="minisblack",
            metadata=metadata,
        )
        source = open_image(tmp_path / "a.ome.tif")
        assert isinstance(source.data, RawArray) == (compression is None)
        assert source.axes == "TCYX"
        assert source.name == "a"
        assert source.pixel_size == {
            "X": (0.1, "µm"),
            "Y": (200, "nm"),
            "T": (1.5, "s"),
        }
        assert source.metadata["channel_names"] == ("DAPI", "GFP")
        assert source.metadata["format"] == "OME-TIFF"
        np.testing.assert_array_equal(source.data[1, 1, 5:9, 3:], image[1, 1, 5:9, 3:])
        frames = as_frames(source.data, source.axes, channel=1)
        np.testing.assert_array_equal(frames.frame(2), image[2, 1])

    def test_imagej_hyperstack(self, tmp_path):
        image = stack(2, 3, 40, 50)
        tifffile.imwrite(
            tmp_path / "a.tif",
            image,
            imagej=True,
            resolution=(1 / 0.065, 1 / 0.065),
            metadata={"axes": "TZYX", "unit": "micron", "spacing": 0.3, "finterval": 2},
        )
        source = open_image(tmp_path / "a.tif")
        assert source.axes == "TZYX"
        assert source.pixel_size["X"] == (pytest.approx(0.065), "µm")
        assert source.pixel_size["Z"] == (0.3, "µm")
        assert source.pixel_size["T"] == (2, "s")
        np.testing.assert_array_equal(source.data, image)

    def test_imagej_without_a_unit_has_no_pixel_size(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", stack(3, 40, 50), imagej=True)
        assert open_image(tmp_path / "a.tif").pixel_size == {}

    def test_plain_pages_are_left_to_a_stated_guess(self, tmp_path):
        image = stack(4, 40, 50)
        with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
            for frame in image:
                writer.write(frame, metadata=None, contiguous=False)
        source = open_image(tmp_path / "a.tif")
        assert source.axes is None
        frames = as_frames(source.data, source.axes)
        assert "4 frames of 40 x 50" in frames.layout.guess
        np.testing.assert_array_equal(frames.frame(3), image[3])

    def test_one_page_has_axes_yx(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", stack(40, 50))
        assert open_image(tmp_path / "a.tif").axes == "YX"

    def test_colours_are_channels(self, tmp_path):
        image = stack(40, 50, 3, dtype=np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb")
        source = open_image(tmp_path / "a.tif")
        assert source.axes == "YXC"
        with pytest.raises(BadAxes, match="3 channels"):
            as_frames(source.data, source.axes)

    def test_resolution_per_centimetre_counts_but_per_inch_is_for_printers(
        self, tmp_path
    ):
        for unit in ("CENTIMETER", "INCH"):
            tifffile.imwrite(
                tmp_path / f"{unit}.tif",
                stack(40, 50),
                resolution=(1e5, 5e4),
                resolutionunit=unit,
                metadata=None,
            )
        found = open_image(tmp_path / "CENTIMETER.tif").pixel_size
        assert found == {"X": (0.1, "µm"), "Y": (0.2, "µm")}
        assert open_image(tmp_path / "INCH.tif").pixel_size == {}

    def test_series_are_chosen_by_number(self, tmp_path):
        images = [stack(40, 50), stack(3, 20, 30, seed=1)]
        with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
            for image in images:
                axes = "TYX"[-image.ndim :]
                writer.write(image, photometric="minisblack", metadata={"axes": axes})
        for series, image in enumerate(images):
            source = open_image(tmp_path / "a.ome.tif", series=series)
            np.testing.assert_array_equal(source.data, image)
        with pytest.raises(BadFile, match="has 2 image series"):
            open_image(tmp_path / "a.ome.tif", series=2)

    def test_axes_given_replace_those_of_the_file(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", stack(3, 40, 50), imagej=True)
        assert open_image(tmp_path / "a.tif", axes="zyx").axes == "ZYX"
        with pytest.raises(BadAxes, match="name 2 axes"):
            open_image(tmp_path / "a.tif", axes="YX")

    def test_tiled_and_compressed_regions_read_the_same(self, tmp_path):
        image = stack(3, 100, 120)
        tifffile.imwrite(
            tmp_path / "a.tif",
            image,
            compression="zlib",
            tile=(32, 48),
            photometric="minisblack",
        )
        frames = as_frames(open_image(tmp_path / "a.tif").data)
        region = frames.region(1, slice(20, 70), slice(40, 100))
        np.testing.assert_array_equal(region, image[1, 20:70, 40:100])


class TestZarr:
    @pytest.mark.parametrize("zarr_format", [2, 3])
    def test_plain_arrays(self, tmp_path, zarr_format):
        image = stack(3, 40, 50)
        zarr.create_array(str(tmp_path / "a.zarr"), data=image, zarr_format=zarr_format)
        source = open_image(tmp_path / "a.zarr")
        assert source.axes is None
        assert source.name == "a"
        np.testing.assert_array_equal(source.data[1], image[1])

    def test_dimension_names_are_axes(self, tmp_path):
        zarr.create_array(
            str(tmp_path / "a.zarr"),
            data=stack(3, 40, 50),
            dimension_names=["time", "y", "x"],
        )
        assert open_image(tmp_path / "a.zarr").axes == "TYX"

    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_ome_zarr_opens_at_full_resolution_with_its_scale(self, tmp_path, version):
        image = stack(2, 3, 40, 50)
        multiscales = [
            {
                "axes": [
                    {"name": "t", "type": "time", "unit": "second"},
                    {"name": "c", "type": "channel"},
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": [1, 1, 0.2, 0.1]},
                            {"type": "translation", "translation": [0, 0, 5, 5]},
                        ],
                    },
                    {"path": "1"},
                ],
                "coordinateTransformations": [
                    {"type": "scale", "scale": [2.5, 1, 1, 1]}
                ],
            }
        ]
        is_new = version == "0.5"
        group = zarr.create_group(
            str(tmp_path / "a.zarr"), zarr_format=3 if is_new else 2
        )
        group.create_array("0", data=image)
        group.create_array("1", data=image[..., ::2, ::2])
        if is_new:
            group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
        else:
            multiscales[0]["version"] = "0.4"
            group.attrs["multiscales"] = multiscales
        source = open_image(tmp_path / "a.zarr")
        assert (source.axes, source.shape) == ("TCYX", image.shape)
        assert source.metadata["format"] == f"OME-Zarr {version}"
        assert source.pixel_size == {
            "T": (2.5, "s"),
            "Y": (0.2, "µm"),
            "X": (0.1, "µm"),
        }
        np.testing.assert_array_equal(source.data[1, 2], image[1, 2])
        with pytest.raises(BadFile, match="no image 1"):
            open_image(tmp_path / "a.zarr", series=1)

    def test_a_group_with_several_arrays_lists_them(self, tmp_path):
        group = zarr.create_group(str(tmp_path / "a.zarr"))
        group.create_array("one", data=stack(4, 4))
        assert open_image(tmp_path / "a.zarr").shape == (4, 4)
        group.create_array("two", data=stack(4, 4))
        with pytest.raises(BadFile, match="one, two"):
            open_image(tmp_path / "a.zarr")

    def test_pickled_pixels_are_never_read(self, tmp_path):
        zarr.create_array(
            str(tmp_path / "a.zarr"), data=stack(4, 4), zarr_format=2, compressors=None
        )
        described = json.loads((tmp_path / "a.zarr" / ".zarray").read_text())
        described["filters"] = [{"id": "pickle", "protocol": 5}]
        (tmp_path / "a.zarr" / ".zarray").write_text(json.dumps(described))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(BadFile, match="foreign code"):
                open_image(tmp_path / "a.zarr")

    def test_a_damaged_description_is_explained(self, tmp_path):
        (tmp_path / "a.zarr").mkdir()
        (tmp_path / "a.zarr" / "zarr.json").write_text("{")
        with pytest.raises(BadFile, match="cannot be opened as Zarr"):
            open_image(tmp_path / "a.zarr")

    def test_an_image_outside_of_its_folder_is_refused(self, tmp_path):
        group = zarr.create_group(str(tmp_path / "a.zarr"))
        level = {"path": "../../b"}
        image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [level]}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
        with pytest.raises(BadFile, match="outside"):
            open_image(tmp_path / "a.zarr")


class TestNpy:
    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("dtype", ["<u2", ">f8"])
    def test_arrays_of_either_order(self, tmp_path, order, dtype):
        image = np.asarray(stack(3, 40, 50), dtype=dtype, order=order)
        np.save(tmp_path / "a.npy", image)
        source = open_image(tmp_path / "a.npy")
        np.testing.assert_array_equal(source.data[1, 3:5], image[1, 3:5])
        assert source.dtype == dtype

    def test_pickled_objects_are_not_loaded(self, tmp_path):
        np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
        with pytest.raises(BadFile, match="cannot be read"):
            open_image(tmp_path / "a.npy")


class TestSeveralFiles:
    def test_single_images_of_a_folder_become_frames_in_natural_order(self, tmp_path):
        image = stack(12, 20, 30)
        for number, frame in enumerate(image):
            tifffile.imwrite(tmp_path / f"frame{number}.tif", frame)
        (tmp_path / "notes.txt").write_text("not an image")
        source = open_image(tmp_path)
        assert source.axes == "TYX"
        assert source.metadata["files"][10] == "frame10.tif"
        np.testing.assert_array_equal(source.data, image)
        frames = as_frames(source.data, source.axes)
        np.testing.assert_array_equal(
            frames.region(10, slice(2, 5), slice(1, 4)), image[10, 2:5, 1:4]
        )

    def test_stacks_are_joined_along_time_even_of_different_length(self, tmp_path):
        image = stack(5, 2, 20, 30)
        for name, part in (("a", image[:2]), ("b", image[2:])):
            tifffile.imwrite(
                tmp_path / f"{name}.tif", part, imagej=True, metadata={"axes": "TCYX"}
            )
        source = open_image([tmp_path / "a.tif", str(tmp_path / "b.tif")])
        assert (source.axes, source.shape) == ("TCYX", (5, 2, 20, 30))
        np.testing.assert_array_equal(source.data[1:4, 1, 2], image[1:4, 1, 2])
        np.testing.assert_array_equal(source.data[-1], image[-1])
        assert source.data[5:].shape == (0, 2, 20, 30)
        with pytest.raises(IndexError):
            source.data[5]

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            (stack(20, 31), "20 x 30 .* 20 x 31"),
            (stack(20, 30, dtype=np.uint8), "uint16.*uint8"),
        ],
    )
    def test_files_that_do_not_match_are_named(self, tmp_path, other, message):
        tifffile.imwrite(tmp_path / "a.tif", stack(20, 30))
        tifffile.imwrite(tmp_path / "b.tif", other)
        with pytest.raises(BadFile, match=message):
            open_image(tmp_path)

    def test_a_folder_without_images_and_an_empty_list_are_refused(self, tmp_path):
        with pytest.raises(BadFile, match="holds no images"):
            open_image(tmp_path)
        with pytest.raises(BadFile, match="No image file"):
            open_image([])


def test_opening_reads_no_pixels_and_keeps_nothing_mapped(tmp_path):
    """A file of 300 MB of holes opens; its last frame takes only its own size."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        shape = (75, 1000, 2000)
        header = {"descr": "<u2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * 75 * 1000 * 2000)
    frames = as_frames(open_image(path).data)
    assert frames.frame(74).sum() == 0
    region = open_image(path).data[74, :3, :4]
    assert region.base is None


class TestBadFiles:
    def test_a_missing_file(self, tmp_path):
        with pytest.raises(BadFile, match="There is no file"):
            open_image(tmp_path / "a.tif")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "a.tif").touch()
        with pytest.raises(BadFile, match="is empty"):
            open_image(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("start", "message"),
        [
            (b"time,value\n1,2\n", "not an image of a known format"),
            (b"ZISRAWFILE......", "a Zeiss CZI file"),
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"\xff\xd8\xff\xe0", "JPEG picture, which has lost"),
            (b"PK\x03\x04....", "zip archive"),
            (pickle.dumps([1]), "not an image"),
        ],
    )
    def test_foreign_files_whatever_they_are_called(self, tmp_path, start, message):
        (tmp_path / "a.tif").write_bytes(start)
        with pytest.raises(BadFile, match=message):
            open_image(tmp_path / "a.tif")

    @pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.97])
    @pytest.mark.parametrize("kind", ["plain", "ome", "zlib", "imagej", "pages"])
    def test_truncated_tiffs(self, tmp_path, kind, kept):
        image = stack(6, 40, 50)
        path = tmp_path / "a.tif"
        options = {
            "plain": {},
            "ome": {"ome": True, "metadata": {"axes": "TYX"}},
            "zlib": {"compression": "zlib"},
            "imagej": {"imagej": True},
        }
        if kind == "pages":
            with tifffile.TiffWriter(path) as writer:
                for frame in image:
                    writer.write(frame, metadata=None, contiguous=False)
        else:
            tifffile.imwrite(path, image, photometric="minisblack", **options[kind])
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(BadFile, match=r"incomplete|cannot be read"):
            open_image(path)

    def test_a_truncated_npy(self, tmp_path):
        np.save(tmp_path / "a.npy", stack(6, 40, 50))
        content = (tmp_path / "a.npy").read_bytes()
        (tmp_path / "a.npy").write_bytes(content[:5000])
        with pytest.raises(BadFile, match=r"cannot be read|incomplete"):
            open_image(tmp_path / "a.npy")

    def test_damaged_pixels_show_when_they_are_read(self, tmp_path):
        path = tmp_path / "a.tif"
        image = stack(6, 40, 50)
        tifffile.imwrite(path, image, compression="zlib", photometric="minisblack")
        with tifffile.TiffFile(path) as tif:
            at = tif.pages[3].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[at : at + 200] = bytes(200)
        path.write_bytes(content)
        frames = as_frames(open_image(path).data, "TYX")
        np.testing.assert_array_equal(frames.frame(2), image[2])
        with pytest.raises(BadFile, match="cannot be read"):
            frames.frame(3)

    def test_a_missing_decoder_is_named_on_opening(self, tmp_path):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, stack(40, 50), compression="zlib")
        with tifffile.TiffFile(path) as tif:
            at = tif.pages[0].tags["Compression"].valueoffset
        content = bytearray(path.read_bytes())
        content[at : at + 2] = (50001).to_bytes(2, "little")  # WebP
        path.write_bytes(content)
        with pytest.raises(BadFile):
            open_image(path)
