"""Reader of Zeiss CZI: the library czifile (extra ``microscopes``) lists the tiles, this module reads and joins them.

czifile has two generations: the one of 2019 for Python 3.11, and a newer one with other names for Python 3.12 and
later. Both are used for the directory of tiles and the XML only. Tested with czifile 2019.7.2.3 and 2026.10.14.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ...array_types import Array
from ...errors import ImageError
from ..axes import complete_names, fitting_names, named_axes, only_present
from ..image import Image, Metadata, PixelSize, Region
from ..series import Selection, Series, choose, note_on_series
from ..units import finite_number, pixel_size, positive_number
from .czi_tiles import KIND, Tile, is_unfinished, read_tile, tiles_of
from .file_bytes import FILE_RATIO, FileBytes, check_plausible
from .microscope_libraries import damaged_file, vendor_library

# In the order of the image's axes; the words are for axes without a letter here.
_OUTER = {
    **{"V": "view", "R": "rotation", "I": "illumination", "H": "phase", "B": "block"},
    **{"T": "t", "C": "c", "Z": "z"},
}
_COLOURS = ("red", "green", "blue", "alpha")
_UNFINISHED = (
    "The file is marked as unfinished: the program that wrote it was interrupted, or still writes, so images may be "
    "missing."
)
# Relative tolerance between the steps of measured times.
_EVEN = 1e-3


@dataclass(frozen=True)
class _Scene:
    """One scene: its number in the file, its tiles (later ones lie on top), and first index and length by axis."""

    number: int
    tiles: tuple[Tile, ...]
    starts: Mapping[str, int]
    sizes: Mapping[str, int]

    @property
    def outer(self) -> tuple[str, ...]:
        """The axes before y and x that are longer than 1, in our order."""
        return tuple(axis for axis in _OUTER if self.sizes.get(axis, 1) > 1)

    @property
    def samples(self) -> int:
        """Colours of a pixel, 1 for grey."""
        return self.tiles[0].samples

    @property
    def axes(self) -> tuple[str, tuple[str, ...]]:
        """Axis letters, and notes on axes without a letter."""
        return named_axes([*(_OUTER[axis] for axis in self.outer), *("yxs" if self.samples > 1 else "yx")])

    @property
    def shape(self) -> tuple[int, ...]:
        """Extents along the axes."""
        sizes = [self.sizes.get(axis, 1) for axis in (*self.outer, "Y", "X")]
        return (*sizes, self.samples) if self.samples > 1 else tuple(sizes)


def open_czi(path: Path, selection: Selection) -> Image:
    """Open one scene of a CZI file in full resolution.

    Raises ImageError for damaged files, for files without pixels, and without the library. Raises UsageError if the
    selection fits no scene.
    """
    with ExitStack() as stack:
        file = FileBytes(path)
        stack.callback(file.close)
        scenes, document = _contents(file)
        series = _series(scenes, document)
        chosen = choose(path.name, series, selection)
        scene = scenes[chosen.number]
        dtype = np.result_type(*{tile.dtype for tile in scene.tiles}).newbyteorder("=")
        check_plausible(path.name, math.prod(scene.shape) * dtype.itemsize, file.size, FILE_RATIO)
        unfinished = (_UNFINISHED,) if is_unfinished(file) else ()
        stack.pop_all()
    letters, renamed = scene.axes
    boxes = _boxes(scene)
    metadata = _metadata(document)
    return Image(
        name=path.name,
        path=str(path),
        axes=letters,
        axes_source="file",
        shape=scene.shape,
        dtype=dtype,
        read=lambda region: _read(file, scene, boxes, dtype, region),
        close=file.close,
        pixel_size=only_present(metadata.pixel_size, letters),
        channel_names=fitting_names(
            _COLOURS[: scene.samples] if scene.samples > 1 and "c" not in letters else metadata.channel_names,
            letters,
            scene.shape,
        ),
        notes=(*note_on_series(path.name, series, chosen), *unfinished, *renamed, *metadata.notes, *_gaps(scene)),
        series=chosen if len(series) > 1 else None,
        piece=max(tile.decoded_bytes for tile in scene.tiles),
    )


def czi_series(path: Path) -> list[Series]:
    """Return the scenes of a CZI file. Raises ImageError as :func:`open_czi` does."""
    with closing(FileBytes(path)) as file:
        return _series(*_contents(file))


def _contents(file: FileBytes) -> tuple[list[_Scene], Element | None]:
    """Return the scenes and the XML document, None without a sound one."""
    with vendor_library("czifile", file.path, KIND) as czifile:
        tiles, xml = tiles_of(czifile, file)
        return _scenes(file.path.name, tiles), _parsed(xml)


def _series(scenes: Sequence[_Scene], document: Element | None) -> list[Series]:
    names = _scene_names(document)
    return [
        Series(number, names.get(scene.number, ""), scene.axes[0], scene.shape) for number, scene in enumerate(scenes)
    ]


def _scenes(name: str, tiles: Sequence[Tile]) -> list[_Scene]:
    """Return the scenes with their tiles of full resolution, in the order of the file's numbers."""
    full = [tile for tile in tiles if tile.is_full]
    if not full:
        raise damaged_file(name, KIND, "it has no pixels in full resolution")
    scenes = []
    for number in sorted({tile.scene for tile in full}):
        own = sorted((tile for tile in full if tile.scene == number), key=lambda tile: tile.order)
        if len({tile.samples for tile in own}) > 1:
            raise ImageError(
                f"{name} has grey and colour channels in one scene, which cannot be one image. Split the channels in "
                "ZEN and export them as OME-TIFF."
            )
        axes = {axis for tile in own for axis in tile.start}
        if strange := axes - {*_OUTER, "Y", "X"}:
            raise damaged_file(name, KIND, f"its axes {', '.join(sorted(strange))} are unknown")
        starts = {axis: min(tile.start.get(axis, 0) for tile in own) for axis in axes}
        sizes = {
            axis: max(tile.start.get(axis, 0) + tile.size.get(axis, 1) for tile in own) - starts[axis] for axis in axes
        }
        scenes.append(_Scene(number, tuple(own), starts, sizes))
    return scenes


def _gaps(scene: _Scene) -> tuple[str, ...]:
    """Return a note if the tiles are too few to cover the scene."""
    held = sum(math.prod(tile.size.values()) for tile in scene.tiles)
    if held >= math.prod(scene.sizes.values()):
        return ()
    return ("The tiles of the file do not cover the whole image; the pixels between them are read as zeros.",)


def _boxes(scene: _Scene) -> NDArray[np.int64]:
    """Return first and last index (exclusive) of every tile (2, tiles, axes) along the image's axes up to x."""
    axes = (*scene.outer, "Y", "X")
    starts = [[tile.start.get(axis, 0) - scene.starts.get(axis, 0) for axis in axes] for tile in scene.tiles]
    sizes = [[tile.size.get(axis, 1) for axis in axes] for tile in scene.tiles]
    return np.stack([np.array(starts), np.array(starts) + np.array(sizes)])


def _read(
    file: FileBytes, scene: _Scene, boxes: NDArray[np.int64], dtype: np.dtype[np.generic], region: Region
) -> Array:
    """Return a region; its slices have start, stop and step 1. Only tiles that it meets are read."""
    axes = (*scene.outer, "Y", "X")
    low, high = (np.array([getattr(part, side) for part in region[: len(axes)]]) for side in ("start", "stop"))
    out: Array = np.zeros((*(high - low), scene.samples), dtype)
    for number in np.flatnonzero(((boxes[0] < high) & (boxes[1] > low)).all(axis=1)):
        tile, (start, stop) = scene.tiles[number], boxes[:, number]
        first, last = np.maximum(start, low), np.minimum(stop, high)
        part = {
            axis: slice(a - s, b - s) for axis, a, b, s in zip(axes, first.tolist(), last.tolist(), start, strict=True)
        }
        block = read_tile(file, tile, part)
        order = [tile.axes.index(axis) for axis in axes if axis in tile.axes]
        others = [place for place in range(len(tile.axes)) if place not in order]
        target = out[tuple(slice(a, b) for a, b in zip(first - low, last - low, strict=True))]
        target[...] = block.transpose([*others, *order, len(tile.axes)]).reshape(target.shape)
    return out[..., region[-1]] if scene.samples > 1 else out[..., 0]


def _parsed(xml: str) -> Element | None:
    """Return the XML document, None if the file has none or a damaged one."""
    try:
        return ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None


def _metadata(document: Element | None) -> Metadata:
    """Return the pixel sizes and channel names that the XML states."""
    if document is None:
        return Metadata(notes=("Its XML is missing or damaged, so pixel size and channel names are unknown.",))
    sizes: dict[str, PixelSize | None] = {}
    for item in document.findall("./Metadata/Scaling/Items/Distance"):
        axis = item.get("Id", "").lower()
        if axis in ("x", "y", "z"):
            sizes[axis] = pixel_size(axis, item.findtext("Value"), "m")
    information = "./Metadata/Information/Image/Dimensions"
    times = document.find(f"{information}/T/Positions")
    sizes["t"] = None if times is None else pixel_size("t", _time_step(times), "s")
    channels = document.findall(f"{information}/Channels/Channel")
    return Metadata(sizes, complete_names([channel.get("Name") or "" for channel in channels]))


def _time_step(times: Element) -> float | None:
    """Return the seconds between two images, stated as an interval or by a list of even times; else None."""
    step = positive_number(times.findtext("Interval/Increment"))
    if step is not None:
        return step
    listed = [finite_number(text) for text in (times.findtext("List/Offsets") or "").split()]
    seconds = np.array([value for value in listed if value is not None])
    steps = np.diff(seconds)
    if len(seconds) != len(listed) or not len(steps) or not np.allclose(steps, steps.mean(), rtol=_EVEN, atol=0):
        return None
    return float(steps.mean())


def _scene_names(document: Element | None) -> dict[int, str]:
    """Return the names of scenes by their number in the file."""
    scenes = [] if document is None else document.findall("./Metadata/Information/Image/Dimensions/S/Scenes/Scene")
    return {int(scene.get("Index", place)): scene.get("Name") or "" for place, scene in enumerate(scenes)}
