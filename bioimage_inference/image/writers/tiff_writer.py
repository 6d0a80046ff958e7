"""Writing an output as TIFF: plain pages for Galaxy's tools, or labelled for viewers (ImageJ hyperstack, OME-TIFF)."""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from bioimage_inference.errors import OutputError
from bioimage_inference.files.partial_file import output_error
from bioimage_inference.image.image import PixelSize, Region
from bioimage_inference.image.readers.tiff_facts import write_info, write_map_annotation
from bioimage_inference.image.units import pixel_size
from bioimage_inference.image.writers.base import ArraySink, Layout
from bioimage_inference.text import for_xml

How = Literal["pages", "labelled"]
Dialect = Literal["pages", "imagej", "ome"]

# Programs that read TIFF open whole numbers of up to 32 bits and floats of 32 and 64 bits.
_STORED_AS = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}
_STORABLE = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")
_IMAGEJ_DTYPES = ("uint8", "uint16", "float32")

_CLASSIC_LIMIT = 2**32 - 2**25  # what tifffile leaves for the rest of the file
_STRIP = 1 << 20  # bytes; programs that read by region load whole strips

_MICROMETRES = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}
_MICROMETRES_PER_CM = 1e4
_RESOLUTIONS = (1e-6, 4e9)  # what a TIFF rational holds with enough digits
_NAMES = {"b": "batch", "i": "index", "p": "position", "t": "time"}


@dataclass(frozen=True)
class Arrangement:
    """How an output lies in a TIFF.

    ``order`` are the layout's axes, slowest first; ``axes`` and ``shape`` those of the TIFF, where several of ``order``
    may be folded into one.
    """

    dialect: Dialect
    order: str
    axes: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    notes: tuple[str, ...] = ()

    @property
    def pages(self) -> int:
        """Number of TIFF pages."""
        return math.prod(self.shape[:-2])

    @property
    def rows_per_strip(self) -> int:
        """Rows in strips of about one MiB."""
        return max(1, min(self.shape[-2], _STRIP // (self.shape[-1] * self.dtype.itemsize)))


class TiffSink(ArraySink):
    """An uncompressed TIFF, never tagged RGB; a BigTIFF where the file would pass 4 GiB.

    ``how="pages"``: axes ``QYX`` or ``QZYX``. Every axis that is not spatial is folded into Q, in the layout's order,
    the last one fastest; a JSON description holds the original axes and the channel names. The resolution is in pixels
    per cm.

    ``how="labelled"``: axes ``TZCYX`` as far as present, with channel names and pixel sizes. Batch, index, position and
    time are folded into T, in the layout's order: Fiji, napari, QuPath and bioio all have a slider for it, and none for
    the others; ``notes`` says so. It is an ImageJ hyperstack (pixel sizes in µm) for uint8, uint16 and float32 where
    the file stays under 4 GiB, else an OME-TIFF.

    An output without y and x, such as the classes of a classifier, is a single page: its last axis of c, z, y, x along
    X, everything else along Y, so that batches are rows.

    Numbers keep their type, but bool becomes uint8, float16 becomes float32, and int64 and uint64 become int32 and
    uint32, which ``notes`` says; a value beyond these raises :class:`~bioimage_inference.errors.OutputError` rather
    than wrap. Complex numbers raise it at once.
    """

    def __init__(self, path: Path, layout: Layout, how: How) -> None:
        arrangement = arrange(path, layout, how)

        def write_header(stream: IO[bytes]) -> int:
            return _write_header(stream, path, layout, arrangement)

        super().__init__(path, layout, arrangement.order, arrangement.dtype, write_header, arrangement.notes)
        self.arrangement = arrangement

    def annotate(self, facts: Mapping[str, str]) -> None:
        """Write facts into the metadata of a labelled TIFF: what is known only when the pixels are.

        ImageJ shows them under Image › Show Info, OMERO as key-value pairs. They are put behind the pixels, in place of
        the first description. Plain pages stay as they are. Raises :class:`OutputError` when the disk does not take
        them, and :class:`ValueError` after :meth:`commit` or :meth:`abort`.
        """
        if self.arrangement.dialect == "pages":
            return
        with self._file.stream() as stream:
            if self.arrangement.dialect == "imagej":
                write_info(stream, _imagej_metadata(self.path, self.layout, self.arrangement)["metadata"], facts)
            else:
                metadata = _ome_metadata(self.path, self.layout, self.arrangement)["metadata"]
                write_map_annotation(stream, metadata, self.arrangement.shape, self.arrangement.dtype, facts)


class NoTiffSink:
    """The TIFF of an output without entries, which no TIFF can hold: an earlier file of that name is removed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: tuple[str, ...] = (f"{path.name} was not written, because a TIFF cannot be without pixels.",)

    def write(self, region: Region, block: NDArray[np.generic]) -> None:
        """There is nothing to write."""

    def flush(self) -> None:
        """There is nothing to wait for."""

    def commit(self) -> None:
        """Remove what an earlier run left. Raises :class:`OutputError` where that cannot be done."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise output_error(self.path, self.path.parent, None, error) from error

    def abort(self) -> None:
        """There is nothing to remove."""


def arrange(path: Path, layout: Layout, how: How) -> Arrangement:
    """Choose order, axes, dtype and dialect for an output; ``path`` only names it in remarks and errors.

    Raises :class:`OutputError` for a dtype that no TIFF reader opens.
    """
    dtype, notes = _stored_dtype(path, layout)
    order, axes, shape = _pages_axes(layout) if how == "pages" else _labelled_axes(layout)
    if how == "pages":
        return Arrangement("pages", order, axes, shape, dtype, notes)
    folded = [_NAMES[letter] for letter in order if letter in _NAMES and layout.size(letter) > 1]
    if "T" in axes and folded not in ([], ["time"]):
        notes = (
            *notes,
            f"{path.name} has the axes {', '.join(folded)} one after the other along T, the last one fastest.",
        )
    imagej = Arrangement("imagej", order, axes, shape, dtype, notes)
    # tifffile drops a width of 1 from ImageJ's shape.
    if dtype.name in _IMAGEJ_DTYPES and shape[-1] > 1 and not needs_bigtiff(imagej, layout.channel_names):
        return imagej
    return Arrangement("ome", order, axes, shape, dtype, notes)


def needs_bigtiff(arrangement: Arrangement, channel_names: tuple[str, ...] = ()) -> bool:
    """Whether pixels, pages' headers and labels may pass the 4 GiB of a classic TIFF."""
    strips = math.ceil(arrangement.shape[-2] / arrangement.rows_per_strip)
    label = 8 + 2 * max((len(name) for name in channel_names), default=0)
    per_page = 512 + 8 * strips + 2 * label  # labels are written again with the facts of the run
    return math.prod(arrangement.shape) * arrangement.dtype.itemsize + arrangement.pages * per_page > _CLASSIC_LIMIT


def _stored_dtype(path: Path, layout: Layout) -> tuple[np.dtype[np.generic], tuple[str, ...]]:
    name = layout.dtype.name
    stored = _STORED_AS.get(name, name)
    if stored not in _STORABLE:
        raise OutputError(
            f"The output {path} has numbers of type {name}, which programs that read TIFF do not open. "
            "Write this output as .npy instead."
        )
    notes = (
        () if stored == name else (f"{path.name} stores {name} as {stored}, which programs that read TIFF can open.",)
    )
    return np.dtype(stored), notes


def _pages_axes(layout: Layout) -> tuple[str, str, tuple[int, ...]]:
    """Order of the layout's axes in the file, axes of the TIFF, its shape."""
    if not _is_image(layout):
        rows, columns = _table(layout)
        return rows + columns, "QYX", (1, layout.size(rows), layout.size(columns))
    stacked = "".join(letter for letter in layout.axes if letter not in "zyx")
    spatial = "zyx" if "z" in layout.axes else "yx"
    shape = (layout.size(stacked), *(layout.size(letter) for letter in spatial))
    return stacked + spatial, "Q" + spatial.upper(), shape


def _labelled_axes(layout: Layout) -> tuple[str, str, tuple[int, ...]]:
    """Order of the layout's axes in the file, axes of the TIFF, its shape."""
    if not _is_image(layout):
        rows, columns = _table(layout)
        return rows + columns, "YX", (layout.size(rows), layout.size(columns))
    series = "".join(letter for letter in layout.axes if letter in _NAMES)
    rest = "".join(letter for letter in "zcyx" if letter in layout.axes)
    shape = tuple(layout.size(letter) for letter in rest)
    return (series + rest, "T" + rest.upper(), (layout.size(series), *shape)) if series else (rest, rest.upper(), shape)


def _is_image(layout: Layout) -> bool:
    return "y" in layout.axes and "x" in layout.axes


def _table(layout: Layout) -> tuple[str, str]:
    """Axes along the rows and along the columns of an output that is no image."""
    columns = next((letter for letter in reversed(layout.axes) if letter in "czyx"), "")
    return "".join(letter for letter in layout.axes if letter != columns), columns


def _write_header(stream: IO[bytes], path: Path, layout: Layout, arrangement: Arrangement) -> int:
    import tifffile

    metadata = {"pages": _pages_metadata, "imagej": _imagej_metadata, "ome": _ome_metadata}[arrangement.dialect]
    options = metadata(path, layout, arrangement)
    with tifffile.TiffWriter(
        stream,
        bigtiff=needs_bigtiff(arrangement, layout.channel_names),
        imagej=arrangement.dialect == "imagej",
        ome=arrangement.dialect == "ome",
    ) as tiff:
        # No data: tifffile leaves a hole for the pixels of all pages, one after another.
        place = tiff.write(
            shape=arrangement.shape,
            dtype=arrangement.dtype,
            photometric="minisblack",
            rowsperstrip=arrangement.rows_per_strip,
            software="bioimage_inference",
            returnoffset=True,
            **options,
        )
    offset, _ = cast(tuple[int, int], place)
    return offset


def _pages_metadata(_path: Path, layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    # Written by hand: tifffile takes the last axis off a shape whose width is 1, and pages would have no width.
    description: dict[str, Any] = {
        "shape": arrangement.shape,
        "axes": arrangement.axes,
        "original_axes": layout.axes,
        "original_shape": layout.shape,
    }
    if layout.channel_names:
        description["channel_names"] = layout.channel_names
    if origins := _origins(layout):
        description["origin"] = {letter: {"value": size.origin, "unit": size.unit} for letter, size in origins.items()}
    sizes = _micrometres(layout)
    resolution = _resolution(sizes, _MICROMETRES_PER_CM, "CENTIMETER")
    if resolution and "z" in sizes:
        # In the unit of the resolution: giatools takes one unit for all axes.
        description |= {"spacing": sizes["z"] / _MICROMETRES_PER_CM, "unit": "cm"}
    return {"metadata": None, "description": json.dumps(description), **resolution}


def _imagej_metadata(_path: Path, layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    sizes = _micrometres(layout)
    resolution = _resolution(sizes, 1.0, "NONE")
    metadata: dict[str, Any] = {"axes": arrangement.axes, "mode": "grayscale", "unit": "um" if resolution else "pixel"}
    metadata["Info"] = "program: bioimage_inference\n"  # the facts of the run take its place
    if resolution and "z" in sizes:
        metadata["spacing"] = sizes["z"]
    if seconds := _frame_interval(layout):
        metadata["finterval"] = seconds
    # ImageJ's position of pixel i is (i - origin) * size (ij.measure.Calibration).
    metadata |= {f"{letter}origin": -size.origin / size.value for letter, size in _origins(layout).items()}
    names = _channel_names(layout)
    if names:
        metadata["Labels"] = names * (arrangement.pages // len(names))
    return {"metadata": metadata, **resolution}


def _ome_metadata(path: Path, layout: Layout, arrangement: Arrangement) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "axes": arrangement.axes,
        "Name": for_xml(path.stem),
        "Creator": "bioimage_inference",
        # The same output gives the same bytes; tifffile would make one from the clock.
        "UUID": str(uuid.uuid5(uuid.NAMESPACE_OID, f"{for_xml(path.name)} {arrangement}")),
    }
    sizes = _micrometres(layout)
    for letter, micrometres in sizes.items():
        metadata |= {f"PhysicalSize{letter.upper()}": micrometres, f"PhysicalSize{letter.upper()}Unit": "µm"}
    if seconds := _frame_interval(layout):
        metadata |= {"TimeIncrement": seconds, "TimeIncrementUnit": "s"}
    if names := _channel_names(layout):
        metadata["Channel"] = {"Name": names}
    if origins := _origins(layout):
        metadata["Plane"] = _plane_positions(arrangement, origins)
    # giatools reads the tags in the unit of PhysicalSizeZ where there is one, in that of the tags otherwise.
    resolution = (
        _resolution(sizes, 1.0, "NONE") if "z" in sizes else _resolution(sizes, _MICROMETRES_PER_CM, "CENTIMETER")
    )
    return {"metadata": metadata, **resolution}


def _origins(layout: Layout) -> Mapping[str, PixelSize]:
    """Pixel sizes along x, y and z, if the output does not begin at 0 along one of them; else nothing."""
    known = {letter: layout.pixel_size[letter] for letter in "xyz" if letter in layout.pixel_size}
    return known if _is_image(layout) and any(size.origin for size in known.values()) else {}


def _plane_positions(arrangement: Arrangement, origins: Mapping[str, PixelSize]) -> dict[str, list[Any]]:
    """Position of the first pixel of every page, as attributes of the elements ``Plane`` of OME-XML."""
    positions: dict[str, list[Any]] = {}
    for letter, size in origins.items():
        along = np.zeros(arrangement.pages)
        if letter == "z":
            along = np.indices(arrangement.shape[:-2])[arrangement.axes.index("Z")].ravel()
        positions[f"Position{letter.upper()}"] = (size.origin + along * size.value).tolist()
        positions[f"Position{letter.upper()}Unit"] = [size.unit] * arrangement.pages
    return positions


def _micrometres(layout: Layout) -> dict[str, float]:
    """Pixel sizes along x, y and z in µm, as far as they are known lengths."""
    if not _is_image(layout):
        return {}
    sizes: dict[str, float] = {}
    for letter in "xyz":
        given = layout.pixel_size.get(letter)
        known = given and pixel_size(letter, given.value, given.unit)
        if known and letter in layout.axes:
            sizes[letter] = known.value * _MICROMETRES[known.unit]
    return sizes


def _resolution(sizes: Mapping[str, float], micrometres: float, unit: str) -> dict[str, Any]:
    """The tags for pixels per so many micrometres, nothing where x or y is unknown or no TIFF can hold the number."""
    if "x" not in sizes or "y" not in sizes:
        return {}
    low, high = _RESOLUTIONS
    values = (micrometres / sizes["x"], micrometres / sizes["y"])
    if not all(low < value < high for value in values):
        return {}
    return {"resolution": tuple(_rational(value) for value in values), "resolutionunit": unit}


def _rational(value: float) -> tuple[int, int]:
    """The nearest fraction of two 32-bit numbers; older tifffile rounds to five digits."""
    largest = 2**32 - 1
    return Fraction(value).limit_denominator(min(largest, int(largest / value))).as_integer_ratio()


def _frame_interval(layout: Layout) -> float | None:
    """Seconds per frame, where T is nothing but time."""
    given = layout.pixel_size.get("t")
    if given is None or "t" not in layout.axes or layout.size("bip") > 1 or not _is_image(layout):
        return None
    known = pixel_size("t", given.value, given.unit)
    return known.value if known else None


def _channel_names(layout: Layout) -> list[str]:
    return [for_xml(name) for name in layout.channel_names] if _is_image(layout) else []
