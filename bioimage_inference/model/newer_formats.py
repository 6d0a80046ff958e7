"""Descriptions in a newer format than this program knows: what is read of them, and the note on the rest."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from .spec import USABLE_FORMATS

Content = Mapping[str, Any]

NEWEST = (0, 5, 14)
"""The newest format whose parts this program knows (bioimageio.spec 0.5.14.3)."""

_STEP_KEYS = ("id", "kwargs", "callable", "source", "sha256")
_DATA_KEYS = ("type", "values", "range", "unit", "scale", "offset")
_AXIS_KEYS = ("id", "type", "description", "size", "unit", "scale", "halo", "channel_names", "concatenable")
_SIZE_KEYS = ("min", "max", "step", "tensor_id", "axis_id", "offset")
_TENSOR_KEYS = (
    *("id", "description", "axes", "test_tensor", "sample_tensor", "data", "preprocessing", "postprocessing"),
    *("optional", "pad"),
)
_WEIGHTS_KEYS = (
    *("source", "sha256", "authors", "parent", "comment", "architecture", "pytorch_version", "dependencies", "strict"),
)
_MODEL_KEYS = (
    *("name", "description", "covers", "id_emoji", "authors", "attachments", "cite", "license", "git_repo", "icon"),
    *("links", "uploader", "maintainers", "tags", "version", "version_comment", "format_version", "type", "id"),
    *("documentation", "inputs", "outputs", "packaged_by", "parent", "run_mode", "timestamp", "training_data"),
    *("weights", "config", "badges"),
)


def version_of(content: Content) -> tuple[int, int, int] | None:
    """Return the format version of a description as numbers, ``None`` where it names none."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", str(content.get("format_version", "")))
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def is_newer(content: Content) -> bool:
    """Return whether a description is in a format that is newer than :data:`NEWEST`."""
    version = version_of(content)
    return version is not None and version > NEWEST


def note_on_newer(content: Content) -> str:
    """Return the note on a description in a newer format: which of its parts are not read."""
    unknown = list(_unknown(content))
    rest = f"These parts are not read: {', '.join(unknown)}." if unknown else "No part of it is unknown."
    return (
        f"The description is in format {content['format_version']}, which is newer than "
        f"{'.'.join(map(str, NEWEST))}. It is read as that format. {rest} Compare the result with the published test "
        "output (validate), or update this program."
    )


def _unknown(content: Content) -> Iterator[str]:
    """Yield the places of all parts that format 0.5 does not have."""
    yield from _extra(content, _MODEL_KEYS, "")
    for kind in ("inputs", "outputs"):
        for number, tensor in _numbered(content.get(kind)):
            where = f"{kind}.{number}."
            yield from _extra(tensor, _TENSOR_KEYS, where)
            for place, axis in _numbered(tensor.get("axes")):
                yield from _extra(axis, _AXIS_KEYS, f"{where}axes.{place}.")
                yield from _extra(axis.get("size"), _SIZE_KEYS, f"{where}axes.{place}.size.")
            data = tensor.get("data")
            for place, one in _numbered(data if isinstance(data, list | tuple) else [data]):
                yield from _extra(one, _DATA_KEYS, f"{where}data.{place}.")
            for steps in ("preprocessing", "postprocessing"):
                for place, step in _numbered(tensor.get(steps)):
                    yield from _extra(step, _STEP_KEYS, f"{where}{steps}.{place}.")
    weights = content.get("weights")
    for name, entry in weights.items() if isinstance(weights, Mapping) else ():
        if name in USABLE_FORMATS:
            yield from _extra(entry, _WEIGHTS_KEYS, f"weights.{name}.")


def _numbered(values: Any) -> Iterator[tuple[int, Content]]:
    for number, value in enumerate(values if isinstance(values, list | tuple) else ()):
        if isinstance(value, Mapping):
            yield number, value


def _extra(value: Any, known: Collection[str], where: str) -> Iterator[str]:
    for key in value if isinstance(value, Mapping) else ():
        if key not in known:
            yield f"{where}{key}"
