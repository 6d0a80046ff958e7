"""TIFF files as microscopes write them, with structures that tifffile cannot write: they point elsewhere in a file."""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from tests.reading_data import Array

# Type and count of a tag, and its bytes; a function gets the place of the bytes in the file.
Tag = tuple[int, int, bytes | Callable[[int], bytes]]
SHORT, LONG, RATIONAL, BYTE, TEXT = 3, 4, 5, 1, 2


def classic(path: Path, pages: Sequence[tuple[Array, Mapping[int, Tag]]], front: bytes = b"") -> Path:
    """A little-endian TIFF; each page has an array (its last two dimensions are y and x) and tags of its own.

    ``front`` are bytes behind the header.
    """
    out = bytearray(b"II*\0\0\0\0\0" + front)
    link = 4
    for array, extra in pages:
        place = len(out)
        out += array.tobytes()
        height, width = array.shape[-2:]
        tags: dict[int, Tag] = {
            256: (LONG, 1, struct.pack("<I", width)),
            257: (LONG, 1, struct.pack("<I", height)),
            258: (SHORT, 1, struct.pack("<H", array.dtype.itemsize * 8)),
            259: (SHORT, 1, struct.pack("<H", 1)),
            262: (SHORT, 1, struct.pack("<H", 1)),
            273: (LONG, 1, struct.pack("<I", place)),
            277: (SHORT, 1, struct.pack("<H", 1)),
            278: (LONG, 1, struct.pack("<I", height)),
            279: (LONG, 1, struct.pack("<I", height * width * array.dtype.itemsize)),
            **extra,
        }
        entries = b""
        for code, (kind, count, value) in sorted(tags.items()):
            out += b"\0" * (len(out) % 2)
            content = value(len(out)) if callable(value) else value
            if len(content) > 4:
                entries += struct.pack("<HHII", code, kind, count, len(out))
                out += content
            else:
                entries += struct.pack("<HHI", code, kind, count) + content.ljust(4, b"\0")
        out += b"\0" * (len(out) % 2)
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(tags)) + entries
        link = len(out)
        out += b"\0\0\0\0"
    path.write_bytes(out)
    return path


def text_tag(code: int, text: str) -> tuple[int, str, int, bytes, bool]:
    """A tag with a text, for tifffile's ``extratags``."""
    return (code, "s", len(text.encode()) + 1, text.encode(), True)


def bytes_tag(code: int, content: bytes) -> tuple[int, str, int, bytes, bool]:
    return (code, "B", len(content), content, True)


def paged(path: Path, stack: Sequence[Array] | Array, texts: Sequence[str | None], **options: Any) -> Path:
    """A TIFF of single pages, each with a text of its own and the tags ``extratags`` by page."""
    tags = options.pop("extratags", [[]] * len(stack))
    with tifffile.TiffWriter(path) as writer:
        for page, text, extra in zip(stack, texts, tags, strict=True):
            writer.write(page, contiguous=False, metadata=None, description=text, extratags=extra, **options)
    return path


def ratio(value: float) -> bytes:
    return struct.pack("<II", round(value * 1000), 1000)


def stk(path: Path, stack: Array, *, distances: Sequence[float], times: Sequence[int], unit: str = "um",
        waves: Sequence[float] = (), heights: Sequence[float] = (), calibration: float = 0.65) -> Path:  # fmt: skip
    """A MetaMorph stack: planes behind a single page. ``times`` are milliseconds."""

    def uic1(place: int) -> bytes:
        x, y, name = place + 24, place + 32, place + 40
        pairs = struct.pack("<6I", 4, x, 5, y, 6, name)
        return pairs + 2 * ratio(calibration) + struct.pack("<I", len(unit) + 1) + unit.encode() + b"\0"

    planes = [
        ratio(distance) + struct.pack("<4I", 2459000, time, 2459000, time)
        for distance, time in zip(distances, times, strict=True)
    ]
    tags: dict[int, Tag] = {33628: (LONG, 3, uic1), 33629: (RATIONAL, len(stack), b"".join(planes))}
    if waves:
        tags[33630] = (RATIONAL, len(stack), b"".join(map(ratio, waves)))
    if heights:
        tags[33631] = (LONG, len(stack), struct.pack("<H", 40) + b"".join(map(ratio, heights)) + b"\0\0")
    return classic(path, [(stack, tags)])


def lsm(path: Path, stack: Array, *, scan: int, channels: Sequence[str] = (), interval: float = 0.0,
        stamps: Sequence[float] = (), voxel: tuple[float, float, float] = (2e-7, 3e-7, 1e-6)) -> Path:  # fmt: skip
    """A Zeiss LSM with a thumbnail behind each page; ``voxel`` are metres along x, y and z. Scan 0: zyx, 3: tyx."""
    count, height, width = stack.shape

    def info(place: int) -> bytes:
        kind = np.dtype(tifffile.TIFF.CZ_LSMINFO)
        record = np.zeros((), kind)
        record["MagicNumber"], record["StructureSize"] = 67127628, kind.itemsize
        record["DimensionX"], record["DimensionY"] = width, height
        record["DimensionZ"], record["DimensionTime"] = (count, 1) if scan == 0 else (1, count)
        record["DimensionChannels"], record["DataType"], record["ScanType"] = 1, 2, scan
        record["ThumbnailX"] = record["ThumbnailY"] = 4
        record["VoxelSizeX"], record["VoxelSizeY"], record["VoxelSizeZ"] = voxel
        record["TimeIntervall"] = interval
        names = b"".join(struct.pack("<I", len(name) + 1) + name.encode() + b"\0" for name in channels)
        colors_at = place + kind.itemsize
        colors = struct.pack("<6I", 24 + 4 * len(channels) + len(names), len(channels), len(channels), 24,
                             24 + 4 * len(channels), 0) + bytes(4 * len(channels)) + names  # fmt: skip
        record["OffsetChannelColors"] = colors_at if channels else 0
        times = struct.pack(f"<ii{len(stamps)}d", 8 + 8 * len(stamps), len(stamps), *stamps)
        record["OffsetTimeStamps"] = colors_at + len(colors) if stamps else 0
        return record.tobytes() + colors + times

    small = np.zeros((4, 4), stack.dtype)
    reduced: Mapping[int, Tag] = {254: (LONG, 1, struct.pack("<I", 1))}
    pages: list[tuple[Array, Mapping[int, Tag]]] = []
    for number, page in enumerate(stack):
        size = np.dtype(tifffile.TIFF.CZ_LSMINFO).itemsize
        pages += [(page, {34412: (BYTE, size, info)} if number == 0 else {}), (small, reduced)]
    return classic(path, pages)


def sis(path: Path, stack: Array, *, ini: str = "", metres: tuple[float, float] = (2e-7, 3e-7)) -> Path:
    """An Olympus SIS file; ``metres`` are the pixel sizes along x and y."""

    def structure(place: int) -> bytes:
        head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 1, 2, 3, 4, 120, b"name", 1)
        general = place + len(head) + 8
        sizes = struct.pack("<10xhdd8xd2x34s32s", -9, metres[0] * 1e9, metres[1] * 1e9, 20.0, b"camera", b"type")
        return head + struct.pack("<hhI", 1, 1, general) + sizes

    first: dict[int, Tag] = {33560: (LONG, 1, structure)}
    if ini:
        first[33471] = (TEXT, len(ini) + 1, ini.encode() + b"\0")
    return classic(path, [(page, first if number == 0 else {}) for number, page in enumerate(stack)])


def fluoview_header(dimensions: Sequence[tuple[str, int, float, str]]) -> bytes:
    """FluoView's header with dimensions (name, size, resolution, unit), innermost first."""
    record = np.zeros((), np.dtype(tifffile.TIFF.MM_HEADER))
    for number, (name, size, resolution, unit) in enumerate(dimensions):
        record["Dimensions"][number] = (name.encode(), size, 0.0, resolution, unit.encode())
    return record.tobytes()


def tvips_header(x: float, y: float) -> bytes:
    """Both headers of TVIPS with pixel sizes in nm."""
    first = np.zeros((), np.dtype(tifffile.TIFF.TVIPS_HEADER_V1))
    second = np.zeros((), np.dtype(tifffile.TIFF.TVIPS_HEADER_V2))
    first["Version"], second["Magic"] = 2, 0xAAAAAAAA
    second["PixelSizeX"], second["PixelSizeY"] = x, y
    return first.tobytes() + second.tobytes()


def micromanager(path: Path, stack: Array, summary: object, settings: Sequence[object] = (),
                 indices: Sequence[Sequence[int]] = (), imagej: str = "") -> Path:  # fmt: skip
    """A Micro-Manager stack: a summary in front, settings of each page, and a map with the indices c, z, t, p."""
    text = json.dumps(summary).encode()
    front = struct.pack("<8I", 54773648, 0, 483765892, 0, 99384722, 0, 2355492, len(text)) + text
    pages: list[tuple[Array, Mapping[int, Tag]]] = []
    for number, page in enumerate(stack):
        own = json.dumps(settings[number] if settings else {"Width": page.shape[1]}).encode() + b"\0"
        tags: dict[int, Tag] = {51123: (TEXT, len(own), own)}
        if imagej and number == 0:
            tags[270] = (TEXT, len(imagej) + 1, imagej.encode() + b"\0")
        pages.append((page, tags))
    classic(path, pages, front + b"\0" * (len(front) % 2))
    if indices:
        with tifffile.TiffFile(path) as tif:
            places = [page.offset for page in tif.pages]
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, 12, len(content))
        content += struct.pack("<2I", 3453623, len(indices))
        for index, place in zip(indices, places, strict=False):
            content += struct.pack("<5I", *index, place)
        path.write_bytes(content)
    return path


def metaseries(setting: str, height: float, *, calibrated: bool = True, time: str = "20240101 10:00:00.000") -> str:
    """The text of a page of MetaSeries, by the name of its channel and its height in µm; pixels of 0.65 µm."""
    entries = {
        "spatial-calibration-state": ("bool", "on" if calibrated else "off"),
        "spatial-calibration-x": ("float", "0.65"),
        "spatial-calibration-y": ("float", "0.65"),
        "spatial-calibration-units": ("string", "um"),
        "_IllumSetting_": ("string", setting),
        "z-position": ("float", str(height)),
        "acquisition-time-local": ("time", time),
    }
    lines = "".join(f'<prop id="{key}" type="{kind}" value="{value}"/>' for key, (kind, value) in entries.items())
    return f"<MetaData><PlaneInfo>{lines}</PlaneInfo><SetInfo/></MetaData>"


# ScanImage's settings of two channels and three planes.
SCANIMAGE = {
    "SI.hChannels.channelName": "{'green';'red';'blue'}",
    "SI.hChannels.channelSave": "[1;3]",
    "SI.hStackManager.numSlices": "3",
    "SI.hStackManager.framesPerSlice": "1",
    "SI.hStackManager.stackZStepSize": "2.5",
    "SI.hRoiManager.scanFramePeriod": "0.5",
    "SI.hRoiManager.scanVolumeRate": "0.25",
    "SI.hRoiManager.pixelsPerLine": "30",
    "SI.hRoiManager.linesPerFrame": "20",
    "SI.hRoiManager.imagingFovUm": "[-15 -5;15 -5;15 5;-15 5]",
}


def fluoview(path: Path, pages: Array, header: bytes) -> Path:
    """An Olympus FluoView file of pages with the header of :func:`fluoview_header`."""
    tags = [[bytes_tag(34361, header), (34362, "d", 8, (0.0,) * 8, True)], *([] for _ in pages[1:])]
    return paged(path, pages, [None] * len(pages), extratags=tags)


def zeiss_sem_tag(*lines: str) -> tuple[int, str, int, bytes, bool]:
    """The tag of a Zeiss SEM: pairs of lines with a key, and its name and value."""
    text = "\r\n".join(["0", "0", "0", *lines, ""]).encode("cp1252")
    return (34118, "s", len(text) + 1, text, True)


def gatan_tags(*axes: tuple[float, str]) -> list[Any]:
    """The tags of Gatan's DigitalMicrograph: size of a pixel and its unit along x, y and a third axis."""
    sizes = [(65009 + place, "d", 1, size, True) for place, (size, _) in enumerate(axes)]
    return [*(text_tag(65003 + place, unit) for place, (_, unit) in enumerate(axes)), *sizes]


def qptiff(path: Path, stack: Array, names: Sequence[str]) -> Path:
    """An Akoya file: a page per channel with its name, pixels of 0.5 µm."""
    texts = [
        '<?xml version="1.0" encoding="utf-16"?><PerkinElmer-QPI-ImageDescription><ImageType>FullResolution</ImageType>'
        f"<Name>{name}</Name></PerkinElmer-QPI-ImageDescription>"
        for name in names
    ]
    return paged(path, stack, texts, software="PerkinElmer-QPI", tile=(16, 16), resolution=(20_000, 20_000),
                 resolutionunit="centimeter")  # fmt: skip


def ndpi(path: Path, stack: Array, focus: Sequence[int]) -> Path:
    """A Hamamatsu slide with a focal plane per page at these heights in nm; pixels are 0.25 µm wide and 0.5 µm high."""
    tags = [[text_tag(271, "Hamamatsu"), (65420, "I", 1, 1, True), (65424, "i", 1, height, True)] for height in focus]
    return paged(path, stack, [None] * len(stack), photometric="rgb", extratags=tags, resolution=(40_000, 20_000),
                 resolutionunit="centimeter")  # fmt: skip


def philips_text(*spacings: str) -> str:
    """The text of a Philips slide with the pixel spacing of each level in mm: along y, then along x."""
    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation"><Attribute Name="DICOM_PIXEL_SPACING" Group="0x0028">{one}'
        "</Attribute></DataObject>"
        for one in spacings
    )
    return (
        f'<?xml version="1.0"?><DataObject ObjectType="DPUfsImport"><Attribute Name="A"><Array>{levels}</Array>'
        "</Attribute></DataObject>"
    )


def philips(path: Path, levels: Sequence[Array], text: str) -> Path:
    """A Philips slide with the text of :func:`philips_text`."""
    texts = [text, *(None for _ in levels[1:])]
    return paged(path, levels, texts, software="Philips DP v1.0", tile=(16, 16), photometric="rgb")


def leica_scn(path: Path, stack: Array) -> Path:
    """A Leica slide with the channels DAPI and FITC; the view is 48 µm wide and 16 µm high."""
    height, width = stack.shape[1:]
    dimensions = "".join(
        f'<dimension sizeX="{width}" sizeY="{height}" r="0" c="{c}" z="0" ifd="{c}"/>' for c in range(2)
    )
    text = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01"><collection name="c">'
        f'<image name="image_1"><pixels sizeX="{width}" sizeY="{height}">{dimensions}</pixels>'
        '<view sizeX="48000" sizeY="16000" offsetX="0" offsetY="0" spacingZ="0"/>'
        '<scanSettings><channelSettings><channel index="1" name="FITC"/><channel index="0" name="DAPI"/>'
        "</channelSettings></scanSettings></image></collection></scn>"
    )
    return paged(path, stack, [text, None], tile=(16, 16))
