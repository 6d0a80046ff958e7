"""Writes objects as regions of interest: ImageJ's ROI set, GeoJSON for QuPath, and a table for OMERO.

All three hold the same polygons, along the edges of the pixels of the label map. An object of a stack has a polygon in
each of its planes.
"""

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from .outlines import Polygon, outlines

if TYPE_CHECKING:
    from roifile import ImagejRoi

    from .object_files import PredictionObjects

# Columns of Galaxy's tool "OMERO ROI Import" (toolshed: ufz/omero_roi_import), which reads a shape from each row.
OMERO_COLUMNS = (
    *("shape", "x", "y", "x_rad", "y_rad", "width", "height", "label", "fontSize", "x1", "y1", "x2", "y2", "points"),
    *("fill_color", "stroke_color", "stroke_width", "z", "c", "t", "roi_name", "roi_description"),
)
_AMBER = (255, 176, 0, 255)  # red, green, blue, opacity: the outlines of the overlay picture
_MOVE, _LINE, _CLOSE = 0.0, 1.0, 4.0  # commands in the path of an ImageJ ShapeRoi (java.awt.geom.PathIterator)
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest date in a zip: equal objects give equal bytes


@dataclass(frozen=True)
class ObjectRegion:
    """The polygons of one object in one plane.

    ``places`` are the indices of the plane along z, t and further axes that count samples, from 0; ``sizes`` are the
    extents of these axes.
    """

    label: int
    polygons: tuple[Polygon, ...]
    places: Mapping[str, int]
    sizes: Mapping[str, int]

    @property
    def name(self) -> str:
        """The label, and the places along axes that the file formats do not know, for example ``object 3 (p 2)``."""
        further = ", ".join(f"{letter} {place}" for letter, place in self.places.items() if letter not in "zt")
        return f"object {self.label}" + (f" ({further})" if further else "")


def object_regions(objects: "PredictionObjects") -> Iterator[ObjectRegion]:
    """Yield the regions of all objects in the order of their labels; each object is read from its bounding box."""
    samples = objects.maps.samples
    sizes = dict(zip(samples.axes + samples.spatial[:-2], (*samples.counts, *samples.shape[:-2]), strict=True))
    for row in range(len(objects.numbered.objects)):
        index, box, mask = objects.mask(row)
        places = dict(zip(samples.axes, index, strict=True))
        for plane, pixels in enumerate(mask if mask.ndim == 3 else [mask]):
            polygons = [polygon.moved(box[-1].start, box[-2].start) for polygon in outlines(pixels)]
            if polygons:
                planes = {"z": box[0].start + plane} if mask.ndim == 3 else {}
                yield ObjectRegion(row + 1, tuple(polygons), places | planes, sizes)


def write_imagej(stream: IO[bytes], regions: Iterable[ObjectRegion]) -> None:
    """Write a ROI set (zip) for ImageJ's ROI Manager. ROIs of stacks know their slice, plane and frame."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, region in enumerate(regions, 1):
            entry = zipfile.ZipInfo(f"{number:06}-{region.label}.roi", _FIXED_TIME)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, imagej_roi(region).tobytes())


def imagej_roi(region: ObjectRegion) -> "ImagejRoi":
    """Return a traced ROI, or a composite ROI for an object that has holes or several parts in its plane."""
    from roifile import ROI_TYPE, ImagejRoi

    corners = np.concatenate([polygon.outer for polygon in region.polygons])
    roi = ImagejRoi.frompoints(region.polygons[0].outer, name=region.name)
    roi.roitype = ROI_TYPE.TRACED
    (roi.left, roi.top), (roi.right, roi.bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    rings = [ring for polygon in region.polygons for ring in (polygon.outer, *polygon.holes)]
    if len(rings) > 1:
        roi.roitype = ROI_TYPE.RECT  # ImageJ's type of a ShapeRoi
        roi.integer_coordinates = roi.subpixel_coordinates = None
        roi.n_coordinates = 0
        roi.multi_coordinates = np.array([value for ring in rings for value in _path(ring.tolist())], np.float32)
        roi.shape_roi_size = len(roi.multi_coordinates)
    z, t = region.places.get("z"), region.places.get("t")
    if z is not None or t is not None:
        roi.position = (t or 0) * region.sizes.get("z", 1) + (z or 0) + 1
        roi.c_position, roi.z_position, roi.t_position = 1, (z or 0) + 1, (t or 0) + 1
    return roi


def _path(ring: list[list[int]]) -> Iterator[float]:
    for number, (x, y) in enumerate(ring):
        yield from (_LINE if number else _MOVE, x, y)
    yield _CLOSE


def write_geojson(stream: IO[bytes], regions: Iterable[ObjectRegion]) -> None:
    """Write a FeatureCollection of detections, as QuPath imports it (RFC 7946, in pixels in place of degrees)."""
    text = io.TextIOWrapper(stream, encoding="utf-8")
    text.write('{"type": "FeatureCollection", "features": [')
    for number, region in enumerate(regions):
        text.write(",\n" if number else "\n")
        text.write(json.dumps(_feature(region)))
    text.write("\n]}\n")
    text.flush()
    text.detach()


def _feature(region: ObjectRegion) -> dict[str, Any]:
    shapes = [[_closed(ring) for ring in (polygon.outer, *polygon.holes)] for polygon in region.polygons]
    geometry: dict[str, Any] = {
        "type": "Polygon" if len(shapes) == 1 else "MultiPolygon",
        "coordinates": shapes[0] if len(shapes) == 1 else shapes,
    }
    if region.places.keys() & {"z", "t"}:
        geometry["plane"] = {"c": -1, "z": region.places.get("z", 0), "t": region.places.get("t", 0)}
    properties = {"objectType": "detection", "name": region.name, "label": region.label}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _closed(ring: Any) -> list[list[int]]:
    """Return a ring as GeoJSON has it: the first vertex also last. Outer rings are counter-clockwise in its terms."""
    vertices: list[list[int]] = ring.tolist()
    return [*vertices, vertices[0]]


def write_omero_table(stream: IO[bytes], regions: Iterable[ObjectRegion]) -> None:
    """Write a tab-separated table with a polygon in each row. OMERO's polygons have no holes, so holes are left out."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, OMERO_COLUMNS, delimiter="\t", lineterminator="\n")
    writer.writeheader()
    for region in regions:
        for polygon in region.polygons:
            writer.writerow(
                {
                    "shape": "Polygon",
                    "label": region.name,
                    "points": ",".join(f"({x},{y})" for x, y in polygon.outer.tolist()),
                    "stroke_color": f"({','.join(map(str, _AMBER))})",
                    "stroke_width": 1,
                    "z": region.places.get("z", 0),
                    "t": region.places.get("t", 0),
                    "roi_name": region.name,
                    "roi_description": f"label {region.label} of the label map",
                }
            )
    text.flush()
    text.detach()
