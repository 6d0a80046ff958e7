"""One file of every dialect of TIFF, with all facts that the dialect can state, for the table of formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests import dialect_files as files
from tests.dialect_files import bytes_tag, paged, text_tag
from tests.reading_data import MINISBLACK, Array, pixels

Writer = Callable[[Path], tuple[Path, Array]]
_NAME = "dataset_1.dat"


def _tagged(tag: tuple[Any, ...], *, software: str | None = None, description: str | None = None) -> Writer:
    """A plane with one tag more than its pixels need."""

    def write(folder: Path) -> tuple[Path, Array]:
        plane = pixels(64, 64)
        path = folder / _NAME
        tifffile.imwrite(path, plane, metadata=None, extratags=[tag], software=software, description=description)
        return path, plane

    return write


def _metamorph(folder: Path) -> tuple[Path, Array]:
    stack = pixels(6, 64, 64)
    path = files.stk(folder / _NAME, stack, distances=[0.5] * 6, times=[0] * 6, waves=[405, 488] * 3)
    return path, stack.reshape(3, 2, 64, 64)


def _metaseries(folder: Path) -> tuple[Path, Array]:
    stack = pixels(4, 64, 64)
    texts = [files.metaseries(setting, height) for setting in ("DAPI", "FITC") for height in (3, 4.5)]
    return paged(folder / _NAME, stack, texts, software="MetaSeries"), stack.reshape(2, 2, 64, 64)


def _zeiss_lsm(folder: Path) -> tuple[Path, Array]:
    stack = pixels(4, 64, 64)
    return files.lsm(folder / _NAME, stack, scan=0, channels=["Ch2-T1"]), stack


def _fluoview(folder: Path) -> tuple[Path, Array]:
    stack = pixels(2, 3, 2, 64, 64)
    header = files.fluoview_header([("X", 64, 0.4, "um"), ("Y", 64, 0.5, "um"), ("Ch", 2, 1, "Ch"),
                                    ("Z", 3, 1.5, "um"), ("Time", 2, 30, "s")])  # fmt: skip
    return files.fluoview(folder / _NAME, stack.reshape(12, 64, 64), header), stack


def _olympus_sis(folder: Path) -> tuple[Path, Array]:
    stack = pixels(2, 64, 64)
    lines = ["[Dimension]", "Band=2", "Z=1", "Time=1", "[Z]", "ZPos1=0", "[Time]", "TimePos1=0", "[Band]",
             "BandName1=DAPI", "BandName2=FITC"]  # fmt: skip
    return files.sis(folder / _NAME, stack, ini="\r\n".join(lines)), stack


def _scanimage(folder: Path) -> tuple[Path, Array]:
    stack = pixels(5, 3, 2, 64, 64)
    size = {"SI.hRoiManager.pixelsPerLine": "64", "SI.hRoiManager.linesPerFrame": "64"}
    text = "\n".join(f"{key} = {value}" for key, value in (files.SCANIMAGE | size).items())
    return paged(folder / _NAME, stack.reshape(30, 64, 64), [None] * 30, software=text), stack


def _micromanager(folder: Path) -> tuple[Path, Array]:
    stack = pixels(2, 3, 2, 64, 64)
    summary = {
        **{"PixelSize_um": 0.325, "z-step_um": 1.5, "Interval_ms": 2000},
        **{"ChNames": ["DAPI", "FITC"], "Channels": 2, "Slices": 3, "Frames": 2},
    }
    rows = [(c, z, t, 0) for t in range(2) for z in range(3) for c in range(2)]
    return files.micromanager(folder / _NAME, stack.reshape(12, 64, 64), summary, (), rows), stack


def _aperio(folder: Path) -> tuple[Path, Array]:
    plane, path = pixels(64, 64, 3, dtype="uint8"), folder / _NAME
    text = "Aperio Image Library v1\r\n64x64|AppMag = 20|MPP = 0.4990"
    tifffile.imwrite(path, plane, photometric="rgb", metadata=None, description=text, tile=(16, 16))
    return path, plane


def _akoya(folder: Path) -> tuple[Path, Array]:
    stack = pixels(3, 64, 64)
    return files.qptiff(folder / _NAME, stack, ("DAPI", "Opal 520", "Opal 690")), stack


def _hamamatsu(folder: Path) -> tuple[Path, Array]:
    stack = pixels(3, 64, 64, 3, dtype="uint8")
    return files.ndpi(folder / _NAME, stack, (-2000, 0, 2000)), stack


def _philips(folder: Path) -> tuple[Path, Array]:
    full = pixels(64, 64, 3, dtype="uint8")
    text = files.philips_text('"0.0005" "0.00025"', '"0.001" "0.0005"')
    return files.philips(folder / _NAME, [full, full[::2, ::2]], text), full


def _leica_scn(folder: Path) -> tuple[Path, Array]:
    stack = pixels(2, 64, 64)
    return files.leica_scn(folder / _NAME, stack), stack


def _gatan(folder: Path) -> tuple[Path, Array]:
    stack, path = pixels(4, 64, 64), folder / _NAME
    tags = files.gatan_tags((0.5, "nm"), (0.25, "nm"), (3, "nm"))
    tifffile.imwrite(path, stack, metadata=None, extratags=tags, **MINISBLACK)
    return path, stack


def _mass_cytometry(folder: Path) -> tuple[Path, Array]:
    stack, path = pixels(3, 64, 64), folder / _NAME
    with tifffile.TiffWriter(path) as writer:
        for plane, name in zip(stack, ("CD3(Er170Di)", "DNA1(Ir191Di)", "DNA2(Ir193Di)"), strict=True):
            writer.write(plane, metadata=None, contiguous=False, extratags=[text_tag(285, name)])
    return path, stack


def _ome_set(folder: Path) -> tuple[Path, Array]:
    """A file for each channel beside the ``companion.ome`` that joins them; the first file is given."""
    stack = pixels(2, 3, 64, 64)
    planes = "".join(
        f'<TiffData FirstC="{c}" FirstZ="{z}" IFD="{z}" PlaneCount="1">'
        f'<UUID FileName="c{c}.ome.tif">urn:uuid:00000000-0000-0000-0000-00000000000{c}</UUID></TiffData>'
        for c, z in np.ndindex(2, 3)
    )
    (folder / "a.companion.ome").write_text(
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:9">'
        '<Image ID="Image:0" Name="cells"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="64" '
        'SizeY="64" SizeZ="3" SizeC="2" SizeT="1" PhysicalSizeX="0.1" PhysicalSizeY="0.1" PhysicalSizeZ="0.5">'
        '<Channel ID="Channel:0:0" Name="DAPI"/><Channel ID="Channel:0:1" Name="GFP"/>'
        f"{planes}</Pixels></Image></OME>"
    )
    for number, channel in enumerate(stack):
        text = (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:00000000-0000-0000-0000-00000000000{number}">'
            '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/></OME>'
        )
        paged(folder / f"c{number}.ome.tif", channel, [text, None, None])
    return folder / "c0.ome.tif", stack


DIALECTS: dict[str, Writer] = {
    "OME-TIFF of several files, `companion.ome`": _ome_set,
    "MetaMorph STK": _metamorph,
    "MetaSeries, ImageXpress": _metaseries,
    "Zeiss LSM": _zeiss_lsm,
    "Zeiss SEM": _tagged(files.zeiss_sem_tag("AP_PIXEL_SIZE", "Pixel Size = 4.2 nm")),
    "FEI, Thermo Fisher SEM": _tagged(text_tag(34682, "[Scan]\r\nPixelWidth=4e-009\r\nPixelHeight=5e-009\r\n")),
    "Olympus FluoView": _fluoview,
    "Olympus SIS": _olympus_sis,
    "ScanImage": _scanimage,
    "Micro-Manager": _micromanager,
    "Aperio SVS": _aperio,
    "Akoya, PerkinElmer QPTIFF": _akoya,
    "Hamamatsu NDPI": _hamamatsu,
    "Philips TIFF": _philips,
    "Leica SCN": _leica_scn,
    "Gatan DigitalMicrograph": _gatan,
    "TVIPS": _tagged(bytes_tag(37706, files.tvips_header(0.5, 0.25))),
    "Imaging mass cytometry (names of pages)": _mass_cytometry,
}
"""A function for each dialect that writes a file of it into a folder, and returns its path and the main image."""
