"""What was segmented, in a few lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any


def objects_lines(objects: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the entry ``objects`` of a record, in the style of the summary of a prediction."""
    size = objects["median_size"]
    line = f"  objects {objects['count']}"
    if objects["samples"] > 1:
        line += f" in {objects['samples']} samples"
    if size["px"] is not None:
        solid = "z" in objects["spatial"]
        line += f", median {'volume' if solid else 'area'} {size['px']:g} px"
        line += f" ({size['um']:.4g} µm{'³' if solid else '²'})" if size["um"] is not None else ""
    yield line
    maps = f"foreground {objects['foreground']}"
    if objects["boundary"] != "none":
        maps += f" - boundary {objects['boundary']}"
    yield f"  seeds   {maps} > {objects['threshold']:g}, objects of at least {objects['min_size']} px"
    for kind in ("labels", "table", "overlay"):
        if objects[kind] is not None:
            yield f"  {kind:<7} {objects[kind]}"
    for note in objects["notes"]:
        yield f"  note    {note}"
