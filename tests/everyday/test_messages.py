"""Everyday mistakes: what is given is no image or no model, and the message says what it is and what helps."""

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray

from bioimage_inference.cli import main
from bioimage_inference.text import counted, reason_of
from tests import models

Output = pytest.CaptureFixture[str]
Content = bytes | Callable[[Path], None]
IMAGE, MODEL = 5, 4  # exit codes


def box(brand: bytes) -> bytes:
    """The start of an ISO media file: MP4, MOV, HEIC."""
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"isom" + bytes(400)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"content")
    return buffer.getvalue()


def tarred(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        member = tarfile.TarInfo("cells.tif")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"II*\0"))
    return buffer.getvalue()


def ole(*streams: str) -> bytes:
    """An OLE file (old Word, Excel, Olympus OIB): a header, and a directory with the names of its streams."""
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(30, b"\0") + struct.pack("<H", 9)
    header = header.ljust(48, b"\0") + struct.pack("<I", 0)
    entries = [name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", *streams)]
    return header.ljust(512, b"\xff") + b"".join(entries)


def hdf5(*names: bytes) -> bytes:
    return b"\x89HDF\r\n\x1a\n" + bytes(100) + b"\0".join(names) + bytes(100)


def nifti() -> bytes:
    return gzip.compress((bytes(344) + b"n+1\0").ljust(500, b"\0"))


def beside(*files: str) -> Callable[[Path], None]:
    """A folder with files of these names."""

    def build(folder: Path) -> None:
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"content")

    return build


def images(folder: Path) -> None:
    folder.mkdir()
    tifffile.imwrite(folder / "cells.tif", np.zeros((8, 9), np.uint8))


def cellpose(path: Path) -> None:
    torch.save({"diam_mean": torch.tensor([30.0]), "output.2.weight": torch.zeros(3)}, path)


def yolo(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("yolo/data.pkl", b"\x80\x02cultralytics.nn.tasks\nDetectionModel\nq\0.")


PAGE = b"<!DOCTYPE html><html><head><title>Zenodo</title></head><body>Please log in.</body></html>"
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x032.6" + bytes(600)
FOREST = b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x18sklearn.ensemble._forest\x94."
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
WORKBOOK = zipped("[Content_Types].xml", "xl/workbook.xml")
CZI, HIDDEN = b"ZISRAWFILE" + bytes(600), b"\0\x05\x16\x07\0\x02\0\0Mac OS X" + bytes(600)
OIF = "\ufeff[ProfileSaveInfo]\r\n".encode("utf-16-le") + bytes(600)
SAFETENSORS = struct.pack("<Q", 21) + b'{"w":{"dtype":"F32"}}' + bytes(64)
SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c" + bytes(600)
TIFF_PREAMBLE = b"II*\0" + bytes(124) + b"DICM" + bytes(600)

# The file's name, its content, and words that the user must read.
NO_IMAGES: tuple[tuple[str, Content, tuple[str, ...]], ...] = (
    ("film.mp4", box(b"isom"), ("film.mp4 is a movie (MP4), not an image", "ffmpeg -i MOVIE", "frame_%04d.png")),
    ("film.mov", box(b"qt  "), ("is a movie (QuickTime, MOV)", "the file that the microscope")),
    ("film.avi", b"RIFF\0\0\0\0AVI LIST" + bytes(600), ("is a movie (AVI)", "Fiji", "Save As > Tiff", "not exact")),
    ("film.mkv", b"\x1a\x45\xdf\xa3" + bytes(600), ("is a movie (Matroska or WebM)",)),
    ("photo.heic", box(b"heic"), ("is a photo (HEIC), which is not read here", "TIFF or PNG")),
    ("cells.zip", zipped("a.tif", "b.tif"), ("zip archive without an OME-Zarr", "unzip FILE", "the image that is")),
    ("cells.tar", tarred("w"), ("is a tar archive, not an image", "Unpack it", "tar -xf FILE")),
    ("cells.tgz", tarred("w:gz"), ("is an archive of files (tar.gz)", "tar -xf FILE")),
    ("cells.tif.gz", gzip.compress(b"II*\0" + bytes(600)), ("is a gzip file", "gunzip FILE")),
    ("cells.tif.bz2", bz2.compress(bytes(600)), ("is a bzip2 file", "Unpack it")),
    ("cells.tif.xz", lzma.compress(bytes(600)), ("is an xz file", "Unpack it")),
    ("cells.7z", SEVEN_ZIP, ("is a 7z archive", "7z x FILE")),
    ("cells.rar", b"Rar!\x1a\x07\x01\0" + bytes(600), ("is a RAR archive", "Unpack it")),
    ("table.xlsx", WORKBOOK, ("is an Excel workbook (XLSX), not an image", "the image that the table belongs to")),
    ("text.docx", zipped("[Content_Types].xml", "word/document.xml"), ("is a Word document (DOCX)", "small copies")),
    ("talk.pptx", zipped("[Content_Types].xml", "ppt/slide1.xml"), ("is a PowerPoint file (PPTX)", "small copies")),
    ("old.xls", ole("Workbook"), ("is an Excel workbook (XLS)",)),
    ("old.doc", ole("WordDocument"), ("is a Word document (DOC)",)),
    ("paper.pdf", b"%PDF-1.7\n" + bytes(600), ("is a PDF document, not an image", "without pixel sizes")),
    ("scan.dcm", bytes(128) + b"DICM" + bytes(600), ("is a DICOM file", "Fiji", "File > Save As > Tiff")),
    ("scan.tif", TIFF_PREAMBLE, ("scan.tif is a DICOM file", "File > Import > Image Sequence")),
    ("data.h5", hdf5(b"data"), ("is an HDF5 file", "h5py.File(FILE)[NAME][:]", "numpy.save")),
    ("cell.ims", hdf5(b"ImarisDataSet", b"DataSetInfo"), ("is an Imaris file", "Open it in Fiji", "Save As > Tiff")),
    ("p.h5", hdf5(b"exported_data"), ("is an HDF5 file of ilastik", "multipage tiff")),
    ("project.ilp", hdf5(b"PixelClassification", b"ilastikVersion"), ("is an ilastik project",)),
    ("cells.czi", CZI, ("is a Zeiss CZI file", "Open it in Fiji", "File > Save As > Tiff")),
    ("renamed.tif", CZI, ("renamed.tif is a Zeiss CZI file",)),
    ("cells.nd2", b"\xda\xce\xbe\x0a" + bytes(600), ("is a Nikon ND2 file", "Fiji")),
    ("cells.lif", b"\x70\0\0\0\x46\x01\0\0\x2a" + bytes(600), ("is a Leica LIF or LOF file", "Fiji")),
    ("cells.oib", ole("OibInfo.txt"), ("is an Olympus OIB file", "Fiji")),
    ("cells.oif", OIF, ("is an Olympus OIF file", "Fiji")),
    ("slide.vsi", b"II*\0" + bytes(600), ("is an Olympus VSI slide", "QuPath", "OME TIFF", "_slide_")),
    ("brain.nii.gz", nifti(), ("is a NIfTI file, packed with gzip", "gunzip", "Fiji")),
    ("table.csv.txt", b"name,area\ncell 1,20\ncell 2,30\n", ("is a text file (a table, CSV), not an image",)),
    ("meta.json", json.dumps({"pixels": [1, 2]}).encode(), ("is a text file (JSON)", "the image that it describes")),
    ("notes.txt", b"The stage drifted.\n", ("is a text file, not an image", "TIFF")),
    ("cells.tif", PAGE, ("cells.tif is a web page, not an image", "asked for a login", "Download the file again")),
    ("lfs.tif", POINTER, ("is a pointer of Git LFS to a file that is not here", "git lfs pull")),
    ("empty.tif", b"", ("empty.tif is empty (0 bytes)", "copy, download")),
    ("._cells.tif", HIDDEN, ("is a hidden file of macOS", "without ._ in front")),
    ("net.onnx", ONNX, ("is an ONNX model, not an image", "MODEL IMAGE")),
    ("array.pkl", b"\x80\x04\x95" + bytes(600), ("is a Python pickle, not an image", "numpy.save")),
    ("model.zip", zipped("rdf.yaml", "weights.pt"), ("is a model, but an image is expected", "MODEL IMAGE")),
)  # fmt: skip

NO_MODELS: tuple[tuple[str, Content, tuple[str, ...]], ...] = (
    ("net.onnx", ONNX, ("is an ONNX model", "--description rdf.yaml")),
    ("net.h5", hdf5(b"keras_version", b"model_weights"), ("is a Keras model (TensorFlow)", "TorchScript")),
    ("net.keras", zipped("config.json", "model.weights.h5"), ("net.keras is a Keras model (TensorFlow)",)),
    ("saved", beside("saved_model.pb", "variables/variables.index"), ("is a TensorFlow model (SavedModel)",)),
    ("net.safetensors", SAFETENSORS, ("is a safetensors file (weights without", "--description rdf.yaml")),
    ("forest.pkl", FOREST, ("a pickled scikit-learn model",)),
    ("cyto3", cellpose, ("cyto3 is a Cellpose model", "Run it with Cellpose", "--pretrained_model")),
    ("yolo.pt", yolo, ("yolo.pt is an Ultralytics YOLO model", "yolo predict")),
    ("stardist", beside("config.json", "thresholds.json", "weights_best.h5"), ("is a StarDist model", "Fiji, QuPath")),
    ("stardist.zip", zipped("2D/config.json", "2D/thresholds.json"), ("stardist.zip is a StarDist model",)),
    ("nnunet", beside("plans.json", "dataset.json"), ("is a folder of nnU-Net", "nnUNetv2_predict")),
    ("folder", beside("readme.txt"), ("holds no model description such as rdf.yaml", "A model is a BioImage.IO")),
    ("images", images, ("is a folder of images, such as cells.tif", "the order is MODEL IMAGE")),
    ("page.zip", PAGE, ("page.zip is a web page, not a model", "Download the file again")),
    ("lfs.pt", POINTER, ("is a pointer of Git LFS", "git lfs pull")),
    ("empty.zip", b"", ("empty.zip is empty (0 bytes)",)),
    ("net.tar.gz", tarred("w:gz"), ("is an archive of files (tar.gz), not a model", "tar -xf FILE")),
    ("cells.czi", CZI, ("is a Zeiss CZI file, not a model", "the order is MODEL IMAGE")),
    ("text.docx", zipped("[Content_Types].xml", "word/document.xml"), ("is a Word document (DOCX), not a model",)),
    ("project.ilp", hdf5(b"PixelClassification", b"ilastikVersion"), ("is an ilastik project, which does not run",)),
)  # fmt: skip


def made(path: Path, content: Content) -> str:
    if not isinstance(content, bytes):
        content(path)
    else:
        path.write_bytes(content)
    return str(path)


def paragraph(capsys: Output) -> str:
    """The message of the program: a single line on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


@pytest.mark.parametrize(("name", "content", "words"), NO_IMAGES, ids=[name for name, _, _ in NO_IMAGES])
def test_what_is_no_image_is_named_with_the_next_step(
    test_data: Path, tmp_path: Path, capsys: Output, name: str, content: Content, words: tuple[str, ...]
) -> None:
    image = made(tmp_path / name, content)
    assert main(["predict", str(test_data / "demo-model.zip"), image, "-o", str(tmp_path / "out")]) == IMAGE
    message = paragraph(capsys)
    assert [one for one in words if one not in message] == [], message


@pytest.mark.parametrize(("name", "content", "words"), NO_MODELS, ids=[name for name, _, _ in NO_MODELS])
def test_what_is_no_model_is_named_with_the_next_step(
    test_data: Path, tmp_path: Path, capsys: Output, name: str, content: Content, words: tuple[str, ...]
) -> None:
    model = made(tmp_path / name, content)
    assert main(["predict", model, str(test_data / "nuclei.tif"), "-o", str(tmp_path / "out")]) == MODEL
    message = paragraph(capsys)
    assert [one for one in words if one not in message] == [], message


def test_a_tiff_with_the_mark_of_dicom_is_read(tmp_path: Path, test_data: Path) -> None:
    """A file can be both, as slides of pathology are: what reads as TIFF is a TIFF."""
    tags = {256: 64, 257: 64, 258: 8, 259: 1, 262: 1, 273: 300, 277: 1, 278: 64, 279: 4096}  # width, height, bits, …
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
    start = (struct.pack("<2sHI", b"II", 42, 140).ljust(128, b"\0") + b"DICM").ljust(140, b"\0") + directory
    (tmp_path / "both.tif").write_bytes(start.ljust(300, b"\0") + bytes(range(256)) * 16)
    assert main(["predict", str(test_data / "demo-model.zip"), str(tmp_path / "both.tif"), "--dry-run"]) == 0


# Numbers and their nouns


@pytest.mark.parametrize(
    ("count", "noun", "verb", "words"),
    [
        (0, "object", None, "0 objects"),
        (1, "axis", None, "1 axis"),
        (2, "axis", None, "2 axes"),
        (1200, "entry", "are", "1,200 entries are"),
        (1, "region", "have", "1 region has"),
        (3, "region", "have", "3 regions have"),
        (1, "pixel", "belong", "1 pixel belongs"),
    ],
)
def test_nouns_and_verbs_agree_with_their_number(count: int, noun: str, verb: str | None, words: str) -> None:
    assert counted(count, noun, verb) == words


@pytest.mark.parametrize(
    ("error", "last_line", "words"),
    [
        (ValueError("the shapes differ."), False, "the shapes differ"),
        (
            RuntimeError("Traceback of TorchScript\n  x = x @ y\n\nRuntimeError: the shapes differ."),
            True,
            "RuntimeError: the shapes differ",
        ),
        (OSError("one line,\n  and another"), False, "one line, and another"),
        (KeyError(), True, "KeyError"),
        (ValueError("x" * 1000), False, "x" * 300),
    ],
)
def test_an_error_of_a_library_is_part_of_our_sentence(error: Exception, last_line: bool, words: str) -> None:
    assert reason_of(error, last_line) == words


@pytest.fixture
def identity(tmp_path: Path) -> str:
    """A model whose output is its input: foreground and boundary are drawn by the test."""
    return str(models.write_model(tmp_path / "identity", models.Identity(), *models.simple_tensors()))


def squares(count: int, specks: int) -> NDArray[np.float32]:
    """An image with objects of 5×5 pixels, and with regions of a single pixel."""
    image = np.zeros((40, 50), np.float32)
    for number in range(count):
        image[2:7, 2 + 8 * number : 7 + 8 * number] = 0.9
    for number in range(specks):
        image[20, 4 + 8 * number] = 0.9
    return image


def segmented(identity: str, folder: Path, capsys: Output, *images: NDArray[np.float32]) -> str:
    """What the program prints for the objects of images."""
    paths = []
    for number, image in enumerate(images):
        paths.append(str(folder / f"cells_{number}.npy"))
        np.save(paths[-1], image)
    assert main(["predict", identity, *paths, "-o", str(folder / "out"), "--segment", "--object-boundary", "none"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("specks", "words"), [(1, "1 region has fewer than 10 pixels"), (2, "2 regions have fewer than 10 pixels")]
)
def test_a_note_counts_regions_that_are_too_small(
    identity: str, tmp_path: Path, capsys: Output, specks: int, words: str
) -> None:
    assert words in segmented(identity, tmp_path, capsys, squares(1, specks))


@pytest.mark.parametrize(("counts", "words"), [((2, 3, 1), "6 objects in 3 images"), ((1, 0), "1 object in 2 images")])
def test_the_last_line_counts_objects_and_images(
    identity: str, tmp_path: Path, capsys: Output, counts: tuple[int, ...], words: str
) -> None:
    printed = segmented(identity, tmp_path, capsys, *(squares(count, 0) for count in counts))
    assert printed.splitlines()[-1] == words


@pytest.mark.parametrize(
    ("holes", "words"), [(1, "1 value of cells_0.npy (of 2,000) is"), (2, "2 values of cells_0.npy (of 2,000) are")]
)
def test_a_note_counts_values_that_are_not_a_number(
    identity: str, tmp_path: Path, capsys: Output, holes: int, words: str
) -> None:
    image = squares(1, 0)
    image[30, :holes] = np.nan
    np.save(tmp_path / "cells_0.npy", image)
    assert main(["predict", identity, str(tmp_path / "cells_0.npy"), "-o", str(tmp_path / "out")]) == 0
    assert f"{words} not a number (NaN)" in capsys.readouterr().out


def test_no_image_is_computed_before_it_failed(identity: str, tmp_path: Path, capsys: Output) -> None:
    good, bad = tmp_path / "good.npy", tmp_path / "bad.npy"
    np.save(good, squares(1, 0))
    np.save(bad, np.full((40, 50), np.nan, np.float32))
    command = [
        "predict",
        identity,
        str(good),
        str(bad),
        "-o",
        str(tmp_path / "out"),
        "--segment",
        "--object-boundary",
        "none",
    ]
    assert main(command) == IMAGE
    assert main([*command, "--resume"]) == IMAGE
    captured = capsys.readouterr()
    assert "is computed" not in captured.out
    assert captured.out.splitlines()[-1] == "1 object in 1 image"
    assert "1 image of 2 failed:" in captured.err
