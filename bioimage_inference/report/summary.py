"""The record in a few lines, for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..image.writers.output_formats import FORMATS
from ..text import byte_size

Record = Mapping[str, Any]


def plan_lines(record: Record) -> Iterator[str]:
    """What was understood of model and image, and in the last line which tiles were chosen."""
    for one in record["inputs"]:
        yield image_line(one)
    yield f"  model   {record['model']['name']}"
    for one in record["inputs"]:
        yield f"  input   {one['tensor']}: {_mapping(one)}"
    yield f"  memory  {byte_size(record['memory']['bytes'])}, {record['memory']['reason']}"
    yield f"  tiles   {tiles_in_words(record['plan'])}"


def tiles_in_words(plan: Record) -> str:
    """Return number, size, halo and padding of the tiles of a plan, for example ``4 of 512×512 (y x), halo 32``."""
    tile = "×".join(str(size) for size in plan["tile"].values())
    halo = _same(plan["halo"])
    return (
        f"{plan['tiles']} of {tile} ({' '.join(plan['tile'])})"
        + (f", up to {plan['batch']} at once" if plan["batch"] > 1 else "")
        + (f", halo {halo}" if halo else "")
        + (f", padded by {_padding(plan['padding'])}" if plan["padding"] else "")
        + (", border mirrored" if plan["border"] == "mirror" else "")
    )


def result_lines(record: Record) -> Iterator[str]:
    """What was computed with, where the outputs are, how long it took, and what the user should know."""
    if "weights" in record:
        yield f"  weights {record['weights']['format']}"
    if "device" in record:
        yield f"  device  {record['device']['reason']}"
        engine, precision = record["engine"], record["device"]["precision"]
        if engine["name"] != "torch" or precision != "float32":
            yield f"  engine  {engine['name']} in {precision}: {engine['reason']}"
    for output in record["outputs"]:
        files = [output[kind] for kind in FORMATS if output.get(kind)]
        shape = _comma("?" if size is None else size for size in output["shape"])
        names = _channels(output.get("channel_names", ()))
        yield f"  output  {output['id']}: {output['axes'].upper()} ({shape}) {output['dtype'] or ''}{names}".rstrip()
        for file in files:
            yield f"          {file}"
    if "seconds" in record:
        seconds = record["seconds"]
        parts = ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items() if stage != "total")
        yield f"  time    {seconds['total']:.2f} s ({parts})"
    for note in record["notes"]:
        yield f"  note    {note}"


def _channels(names: Sequence[str]) -> str:
    """The names of a few channels, the number of many."""
    if not names:
        return ""
    return f", channels {', '.join(names)}" if len(names) <= 8 else f", {len(names)} channels"


def image_line(one: Record) -> str:
    """An input of the record in a line, in giatools' words: ``[cells.tif] axes TYX (3,512,512) uint16, 0.1 µm/px``."""
    line = f"[{one['name']}] axes {one['axes'].upper()} ({_comma(one['shape'])}) {one['dtype']}"
    sizes = {axis: f"{size['value']:.4g} {size['unit']}" for axis, size in one["pixel_size"].items()}
    if "x" in sizes and sizes.get("y") == sizes["x"]:
        line += f", {sizes.pop('x')}/px"
        del sizes["y"]
    return line + "".join(f", {axis} {sizes[axis]}" for axis in "xyzt" if axis in sizes)


def _mapping(one: Record) -> str:
    text = f"axes {one['tensor_axes'].upper()}"
    if one["iterated_axes"]:
        text += f", {one['samples']} samples along {one['iterated_axes'].upper()}"
    if one["channels"] is not None:
        text += f", channels {_comma(one['channels'])}"
    return text


def _comma(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _same(sizes: Mapping[str, int]) -> str:
    """One number where all axes have the same."""
    if len(set(sizes.values())) == 1:
        return str(next(iter(sizes.values())))
    return ", ".join(f"{axis} {size}" for axis, size in sizes.items())


def _padding(padding: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{axis} {before}+{after}" for axis, (before, after) in padding.items())
