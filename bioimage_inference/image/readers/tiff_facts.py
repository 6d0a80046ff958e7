"""Facts of a run in the metadata of a finished TIFF: ImageJ's Info, or a MapAnnotation of the OME-XML.

Both are rewritten behind the pixels, because some of the facts, the hash of a large image for one, are known last.
"""

import math
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np

from ...text import for_xml

_DESCRIPTION = 270
_NAMESPACE = "urn:bioimage_inference:provenance:1"


def write_info(stream: IO[bytes], metadata: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """Replace the Info of an ImageJ hyperstack by lines ``key: value``.

    ``metadata`` are those that the file was written with, an Info among them; the labels of slices stay.
    """
    import tifffile

    with tifffile.TiffFile(stream, mode="r+") as tiff:
        tags = tiff.pages.first.tags
        info = "\n".join(f"{key}: {value}" for key, value in _for_xml(facts).items()) + "\n"
        kept = {"Info": info} | {key: metadata[key] for key in ("Labels",) if key in metadata}
        for code, kind, _, value, _ in tifffile.tifffile.imagej_metadata_tag(kept, tiff.byteorder):
            tags[code].overwrite(value, dtype=kind)


def write_map_annotation(
    stream: IO[bytes],
    metadata: Mapping[str, Any],
    shape: Sequence[int],
    dtype: np.dtype[np.generic],
    facts: Mapping[str, str],
) -> None:
    """Replace the OME-XML by the same with a MapAnnotation that belongs to the image.

    ``metadata`` are those that the file was written with, ``shape`` and ``dtype`` those of its pixels. The namespace
    of the annotation is ours, so that OMERO shows the pairs but lets nobody edit them.
    """
    import tifffile

    annotated = {**metadata, "MapAnnotation": {"Namespace": _NAMESPACE, "Value": _for_xml(facts)}}
    xml = tifffile.OmeXml(**annotated)
    xml.addimage(dtype, tuple(shape), (math.prod(shape[:-2]), 1, 1, shape[-2], shape[-1], 1), **annotated)
    with tifffile.TiffFile(stream, mode="r+") as tiff:
        tiff.pages.first.tags[_DESCRIPTION].overwrite(xml.tostring(declaration=True).encode())


def _for_xml(facts: Mapping[str, str]) -> dict[str, str]:
    return {for_xml(key): for_xml(value) for key, value in facts.items()}
