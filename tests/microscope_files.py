"""Small files in the formats of microscopes' vendors, written byte by byte: Nikon ND2, Leica LIF and LOF, Zeiss CZI."""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# ND2, version 3: chunks, of which the last one is a map of all others.
_ND2_MARK, _ND2_NAME_BYTES = 0x0ABECEDA, 4072


def _nd2_value(name: str, value: Any) -> bytes:
    """A named value as NIS-Elements stores it: its type, its name in UTF-16, its bytes."""
    text = f"{name}\0".encode("utf-16-le")
    kind, content = next(
        (kind, pack(value))
        for types, kind, pack in (
            (bool, 1, lambda one: struct.pack("<B", one)),
            (int, 3, lambda one: struct.pack("<I", one)),
            (float, 6, lambda one: struct.pack("<d", one)),
            (str, 8, lambda one: f"{one}\0".encode("utf-16-le")),
            (bytes, 9, lambda one: struct.pack("<Q", len(one)) + one),
            (dict, 11, lambda one: b""),
        )
        if isinstance(value, types)
    )
    head = struct.pack("<BB", kind, len(text) // 2) + text
    if not isinstance(value, dict):
        return head + content
    items = b"".join(_nd2_value(key, one) for key, one in value.items())
    return head + struct.pack("<IQ", len(value), len(head) + 12 + len(items)) + items + bytes(8 * len(value))


def _nd2_loops(loops: Sequence[dict[str, Any]]) -> dict[str, Any]:
    outer, *inner = loops
    return {**outer, **({"ppNextLevelEx": {"a0": _nd2_loops(inner)}} if inner else {})}


def nd2_time(count: int, milliseconds: float) -> dict[str, Any]:
    """A loop over time points."""
    times = {"uiCount": count, "dStart": 0.0, "dPeriod": milliseconds, "dDuration": 0.0}
    return {"eType": 1, "uLoopPars": times}


def nd2_positions(*names: str) -> dict[str, Any]:
    """A loop over positions of the stage."""
    points = {f"a{n}": {"dPosX": float(n), "dPosY": 0.0, "dPosName": name} for n, name in enumerate(names)}
    return {"eType": 2, "uLoopPars": {"uiCount": len(names), "Points": points}}


def nd2_stack(count: int, micrometres: float) -> dict[str, Any]:
    """A loop over planes."""
    return {"eType": 4, "uLoopPars": {"uiCount": count, "dZStep": micrometres}}


def write_nd2(
    path: Path,
    frames: Array,
    loops: Sequence[dict[str, Any]] = (),
    names: Sequence[str] = ("DAPI",),
    pixel: float | None = 0.25,
    packed: bool = False,
    row_bytes: int | None = None,
    colours: bool = False,
    missing: Sequence[int] = (),
) -> Path:
    """Frames (frame, y, x, channel) in the order of the loops; ``row_bytes`` may be longer than a row."""
    count, height, width, samples = frames.shape
    item = frames.dtype.itemsize
    row = row_bytes or width * samples * item
    attributes = {
        **{"uiWidth": width, "uiWidthBytes": row, "uiHeight": height, "uiComp": samples, "uiBpcInMemory": 8 * item},
        **{"uiBpcSignificant": 8 * item, "uiSequenceCount": count, "eCompression": 0 if packed else 2},
    }
    plane = {"uiCompCount": samples // len(names), "pFluorescentProbe": {"m_ExcitationSpectrum": {"uiCount": 0}}}
    planes = {f"a{n}": {"sDescription": name, **plane} for n, name in enumerate(names)}
    picture = {
        **{"bCalibrated": pixel is not None, "dCalibration": pixel or 0.0},
        "sPicturePlanes": {"uiCount": len(names), "sPlaneNew": planes},
    }
    parts = {
        "ImageAttributesLV!": _nd2_value("SLxImageAttributes", attributes),
        "ImageMetadataSeqLV|0!": _nd2_value("SLxPictureMetadata", picture),
    }
    if loops:
        parts["ImageMetadataLV!"] = _nd2_value("SLxExperiment", _nd2_loops(loops))
    for number, frame in enumerate(frames):
        rows = [line.tobytes().ljust(row, b"\xaa") for line in frame]
        if number not in missing:
            data = b"".join(rows)
            parts[f"ImageDataSeq|{number}!"] = struct.pack("<d", number) + (zlib.compress(data) if packed else data)
    content = struct.pack("<IIQ32s64s", _ND2_MARK, 32, 64, b"ND2 FILE SIGNATURE CHUNK NAME01!", b"Ver3.0")
    table = b""
    for name, data in parts.items():
        table += name.encode() + struct.pack("<QQ", len(content), len(data))
        content += struct.pack("<IIQ", _ND2_MARK, _ND2_NAME_BYTES, len(data))
        content += name.encode().ljust(_ND2_NAME_BYTES, b"\0") + data
    end = b"ND2 CHUNK MAP SIGNATURE 0000001!" + struct.pack("<Q", len(content))
    name = b"ND2 FILEMAP SIGNATURE NAME 0001!"
    content += struct.pack("<IIQ", _ND2_MARK, len(name), len(table) + len(end)) + name + table + end
    path.write_bytes(content)
    return path


# LIF: a header in XML, and a block of memory for each image.
_LIF_AXES = {"x": 1, "y": 2, "z": 3, "t": 4, "m": 10}


@dataclass
class LeicaImage:
    """An image of a LIF file: pixels with the letters of ``axes`` in the order of the file, ``c`` for channels.

    ``lengths`` are metres (seconds for t) from the first to the last element. ``row_bytes`` may be longer than a row.
    ``tags`` are the colours of the channels: 0 grey, 1 red, 2 green, 3 blue.
    """

    name: str
    pixels: Array
    axes: str
    names: Sequence[str]
    lengths: Mapping[str, float] = field(default_factory=dict)
    tags: Sequence[int] = ()
    row_bytes: int | None = None

    def memory(self) -> bytes:
        """The block of memory."""
        if self.row_bytes is None:
            return self.pixels.tobytes()
        rows = self.pixels.reshape(*self.pixels.shape[:-2], -1) if self.axes.endswith("c") else self.pixels
        return b"".join(row.tobytes().ljust(self.row_bytes, b"\xaa") for row in rows.reshape(-1, rows.shape[-1]))

    def description(self) -> str:
        """The XML inside the image's element."""
        steps: dict[str, int] = {}
        step = self.pixels.dtype.itemsize
        for axis, size in reversed(list(zip(self.axes, self.pixels.shape, strict=True))):
            steps[axis] = step = self.row_bytes if axis == "y" and self.row_bytes is not None else step
            step *= size
        floating = int(self.pixels.dtype.kind == "f")
        channels = "".join(
            f'<ChannelDescription DataType="{floating}" ChannelTag="{tag}" Resolution="{8 * self.pixels.itemsize}" '
            f'NameOfMeasuredQuantity="" Min="0" Max="1" Unit="" LUTName="{name}" IsLUTInverted="0" '
            f'BytesInc="{number * steps.get("c", 0)}" BitInc="0"/>'
            for number, (name, tag) in enumerate(zip(self.names, self.tags or [0] * len(self.names), strict=True))
        )
        dimensions = "".join(
            f'<DimensionDescription DimID="{_LIF_AXES[axis]}" NumberOfElements="{size}" Origin="0" '
            f'Length="{self.lengths.get(axis, 0)}" Unit="{"s" if axis == "t" else "m"}" BytesInc="{steps[axis]}" '
            'BitInc="0"/>'
            for axis, size in zip(self.axes, self.pixels.shape, strict=True)
            if axis != "c"
        )
        return (
            f"<Data><Image><ImageDescription><Channels>{channels}</Channels><Dimensions>{dimensions}</Dimensions>"
            "</ImageDescription></Image></Data>"
        )


def _lif_header(text: str) -> bytes:
    return struct.pack("<IIBI", 0x70, 2 * len(text) + 5, 0x2A, len(text)) + text.encode("utf-16-le")


def write_lif(path: Path, *images: LeicaImage) -> Path:
    """A LIF file with those images."""
    elements = "".join(
        f'<Element Name="{image.name}" UniqueID="{n}">{image.description()}'
        f'<Memory Size="{len(image.memory())}" MemoryBlockID="MemBlock_{n}"/></Element>'
        for n, image in enumerate(images)
    )
    content = _lif_header(
        '<LMSDataContainerHeader Version="2"><Element Name="Project" UniqueID="p"><Data><Experiment Path=""/></Data>'
        f'<Memory Size="0" MemoryBlockID="MemBlock_p"/><Children>{elements}</Children></Element>'
        "</LMSDataContainerHeader>"
    )
    for number, image in enumerate(images):
        name, memory = f"MemBlock_{number}", image.memory()
        content += struct.pack("<IIBQBI", 0x70, 2 * len(name) + 14, 0x2A, len(memory), 0x2A, len(name))
        content += name.encode("utf-16-le") + memory
    path.write_bytes(content)
    return path


def write_lof(path: Path, image: LeicaImage) -> Path:
    """A LOF file with one image."""
    memory = image.memory()
    text = (
        f'<LMSDataContainerHeader Version="2"><Element Name="{image.name}" UniqueID="1">{image.description()}'
        f'<Memory Size="{len(memory)}" MemoryBlockID="MemBlock_1"/></Element></LMSDataContainerHeader>'
    )
    versions = struct.pack("<BIBIBQ", 0x2A, 2, 0x2A, 1, 0x2A, len(memory))
    path.write_bytes(_lif_header("LMS_Object_File") + versions + memory + _lif_header(text))
    return path


# CZI: segments; a directory lists the tiles.
_CZI_TYPES = {("u1", 1): 0, ("u2", 1): 1, ("f4", 1): 2, ("u1", 3): 3, ("u2", 3): 4}


@dataclass
class CziTile:
    """A tile of a CZI: pixels (y, x) or (y, x, colour), where they lie, and how they are packed.

    ``at`` has the first index along each axis of Zeiss's letters. ``shown`` is the size (y, x) that a tile of a pyramid
    covers in the image.
    """

    pixels: Array
    at: Mapping[str, int]
    compression: int = 0
    shown: tuple[int, int] | None = None

    def entry(self, position: int) -> bytes:
        """The entry of the directory."""
        height, width = self.pixels.shape[:2]
        shown = self.shown or (height, width)
        axes = {"X": (shown[1], width), "Y": (shown[0], height)}
        others = [axis for axis in self.at if axis not in axes]
        dimensions = b"".join(
            struct.pack("<4siifi", axis.encode(), self.at.get(axis, 0), *(axes.get(axis, (1, 1))[:1]), 0.0, stored)
            for axis, stored in [(axis, axes.get(axis, (1, 1))[1]) for axis in ("X", "Y", *others)]
        )
        kind = _CZI_TYPES[self.pixels.dtype.str[1:], self.pixels.shape[2] if self.pixels.ndim == 3 else 1]
        head = ("<2siqiiBB4si", b"DV", kind, position, 0, self.compression, 2 if self.shown else 0, 0, b"")
        return struct.pack(*head, 2 + len(others)) + dimensions

    def data(self) -> bytes:
        """The bytes of the pixels: blue before red, and packed."""
        pixels = self.pixels[..., ::-1] if self.pixels.ndim == 3 and self.compression not in (1, 4) else self.pixels
        plain = np.ascontiguousarray(pixels)
        if self.compression in (1, 4):
            encode = imagecodecs.jpeg8_encode if self.compression == 1 else imagecodecs.jpegxr_encode
            return bytes(encode(plain, level=1.0) if self.compression == 4 else encode(plain, level=100))
        if self.compression == 6:
            shuffled = plain.view(np.uint8).reshape(-1, plain.itemsize).T.tobytes()
            return b"\x03\x01\x01" + bytes(imagecodecs.zstd_encode(shuffled))
        if self.compression == 2:
            return bytes(imagecodecs.lzw_encode(plain.tobytes()))
        return bytes(imagecodecs.zstd_encode(plain.tobytes())) if self.compression == 5 else plain.tobytes()


def _segment(name: str, content: bytes) -> bytes:
    return struct.pack("<16sqq", name.encode(), len(content), len(content)) + content


def czi_xml(
    sizes: Mapping[str, float], names: Sequence[str], seconds: float | None = None, scenes: Sequence[str] = ()
) -> str:
    """The XML of a CZI: metres per pixel by axis, channel names, time step and scene names."""
    scaling = "".join(f'<Distance Id="{axis}"><Value>{size}</Value></Distance>' for axis, size in sizes.items())
    channels = "".join(f'<Channel Id="Channel:{n}" Name="{name}"/>' for n, name in enumerate(names))
    step = (
        ""
        if seconds is None
        else f"<T><Positions><Interval><Increment>{seconds}</Increment></Interval></Positions></T>"
    )
    places = "".join(f'<Scene Index="{n}" Name="{name}"/>' for n, name in enumerate(scenes))
    return (
        f"<ImageDocument><Metadata><Scaling><Items>{scaling}</Items></Scaling><Information><Image><Dimensions>"
        f"<Channels>{channels}</Channels>{step}<S><Scenes>{places}</Scenes></S></Dimensions></Image></Information>"
        "</Metadata></ImageDocument>"
    )


def write_czi(path: Path, tiles: Sequence[CziTile], xml: str = "") -> Path:
    """A CZI file with those tiles."""
    header = 32 + 512
    content, entries = b"", b""
    for tile in tiles:
        position, data = header + len(content), tile.data()
        entry = tile.entry(position)
        entries += entry
        head = (struct.pack("<iiq", 0, 0, len(data)) + entry).ljust(256, b"\0")
        content += _segment("ZISRAWSUBBLOCK", head + data)
    directory = header + len(content)
    content += _segment("ZISRAWDIRECTORY", struct.pack("<i124x", len(tiles)) + entries)
    metadata = header + len(content)
    content += _segment("ZISRAWMETADATA", struct.pack("<ii248x", len(xml.encode()), 0) + xml.encode())
    places = struct.pack("<iiii16s16siqqiq", 1, 0, 0, 0, bytes(16), bytes(16), 0, directory, metadata, 0, 0)
    path.write_bytes(_segment("ZISRAWFILE", places.ljust(512, b"\0")) + content)
    return path


def grid(counts: Mapping[str, int]) -> list[dict[str, int]]:
    """All combinations of indices along axes."""
    return [dict(zip(counts, index, strict=True)) for index in product(*map(range, counts.values()))]
