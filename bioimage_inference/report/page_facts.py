"""What was done, in words, from the record: pairs of a label and lines of plain text for the tables of the report."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ..image.axes import AXES
from ..image.writers.output_formats import FORMATS
from ..model.spec import Operation, TensorSpec
from ..text import byte_size
from .model_facts import WEIGHTS_NAMES
from .tensor_words import operations_in_words

Record = Mapping[str, Any]
Row = tuple[str, Sequence[str]]

_AXES_FROM = {"file": "as the file names them", "user": "as given with --axes", "guess": "guessed from the model"}
_OBJECTS = ("labels", "table", "overlay")
_BORDERS = {
    "natural": "At the image's border the network saw the image as it is.",
    "mirror": "At the image's border the network saw the image mirrored.",
}


def image_rows(record: Record) -> Iterator[Row]:
    """The images, and how they filled the model's inputs."""
    for one in record["inputs"]:
        lines = [
            f"{one['name']}: axes {one['axes'].upper()} ({_times(one['shape'])}), {one['dtype']}, "
            f"{_AXES_FROM.get(one['axes_from'], one['axes_from'])}"
        ]
        if one["pixel_size"]:
            lines.append(f"Pixel size {pixel_size(one['pixel_size'])}")
        lines.append(f"Given to the model as {one['tensor_axes'].upper()}")
        if one["iterated_axes"]:
            lines.append(f"{one['samples']} samples along {one['iterated_axes'].upper()}, each predicted on its own")
        if one["channels"] is not None:
            lines.append(f"Channels {', '.join(str(channel) for channel in one['channels'])} were taken")
        yield f"Image ({one['tensor']})", lines


def processing_rows(record: Record) -> Iterator[Row]:
    """Pre- and postprocessing, with the values that were used."""
    steps = record.get("processing", ())
    inputs = [one["tensor"] for one in record["inputs"]]
    for tensor in dict.fromkeys(step["tensor"] for step in steps):
        when = "Before the network" if tensor in inputs else "After the network"
        yield f"{when} ({tensor})", [_step(step) for step in steps if step["tensor"] == tensor]


def computing_rows(record: Record) -> Iterator[Row]:
    """Tiles, weights, engine, device, memory, options."""
    yield "Tiles", list(_tiles(record["plan"]))
    weights, device, engine = record.get("weights"), record.get("device"), record.get("engine")
    if weights is not None:
        yield "Weights", [f"{WEIGHTS_NAMES.get(weights['format'], weights['format'])}, {weights['file']}"]
    if engine is not None:
        yield "Engine", [f"{engine['name']}: {engine['reason']}"]
    if device is not None:
        threads = f", {device['threads']} threads" if device.get("threads") else ""
        processor = [device["processor"]] if device.get("processor") else []
        yield "Device", [f"{device['reason']}; {device['precision']}{threads}", *processor]
    memory = record["memory"]
    peak = [f"At most {byte_size(memory['peak_bytes'])} were used"] if memory.get("peak_bytes") else []
    yield "Memory", [*peak, f"The budget was {byte_size(memory['bytes'])}, {memory['reason']}"]
    if record["options"]:
        yield "Options", [f"{name} {value}" for name, value in record["options"].items()]


def time_rows(record: Record) -> Iterator[Row]:
    """Seconds per stage, the sum last."""
    for stage, seconds in record.get("seconds", {}).items():
        yield stage[:1].upper() + stage[1:], [f"{seconds:.2f} s"]


def file_rows(record: Record) -> Iterator[Row]:
    """The files, with their hashes."""
    for one in record["inputs"]:
        size = f" ({byte_size(one['bytes'])})" if one.get("bytes") else ""
        yield f"Image ({one['tensor']})", [f"{one['file'] or 'an array in memory'}{size}", *_hash(one.get("sha256"))]
    for one in record["outputs"]:
        lines = [f"axes {one['axes'].upper()} ({_times(one['shape'])}), {one['dtype']}"]
        for kind in FORMATS:
            if one.get(kind):
                lines += [str(one[kind]), *_hash((one.get("sha256") or {}).get(kind))]
        yield f"Output ({one['id']})", lines
    objects = record.get("objects") or {}
    hashes = objects.get("sha256", {})
    made = [line for key in _OBJECTS if objects.get(key) for line in (str(objects[key]), *_hash(hashes.get(key)))]
    if made:
        yield "Objects", made
    model = record["model"]
    yield "Model", [str(model.get("source") or model["name"]), *_hash(model.get("sha256"))]
    if "weights" in record:
        yield "Weights", [str(record["weights"]["file"]), *_hash(record["weights"]["sha256"])]


def objects_in_words(objects: Record) -> str:
    """How objects were found, and their median size where it is known."""
    minus = "" if str(objects["boundary"]) == "none" else f" minus the boundary (channel {objects['boundary']})"
    words = (
        f"Objects grow from where the foreground (channel {objects['foreground']}){minus} is above "
        f"{objects['threshold']} to where the foreground falls to 0.5. They have at least {objects['min_size']} pixels."
    )
    median = objects.get("median_size") or {}
    if median.get("px") is not None:
        power = "³" if len(objects.get("spatial", "yx")) == 3 else "²"
        extent = f" ({median['um']:.4g} µm{power})" if median.get("um") is not None else ""
        words += f" Their median size is {median['px']:,g} pixels{extent}."
    return words


def when(record: Record) -> str | None:
    """When the run began, for instance ``21 November 2026, 14:03 UTC``."""
    if "started" not in record:
        return None
    began = datetime.fromisoformat(record["started"])
    return f"{began.day} {began:%B %Y, %H:%M} UTC"


def pixel_size(sizes: Mapping[str, Mapping[str, Any]]) -> str:
    """For instance ``x 0.325 µm, y 0.325 µm``."""
    return ", ".join(f"{letter} {one['value']:.4g} {one['unit']}" for letter, one in sizes.items())


def field_of_view(one: Record) -> str:
    """How large the image is: pixels along x, y and z, its extent where the pixel size is known, and its series."""
    extents = dict(zip(one["axes"], one["shape"], strict=True))
    if "x" not in extents or "y" not in extents:
        return ""
    space = "xyz" if extents.get("z", 1) > 1 else "xy"
    words = [f"{' × '.join(str(extents[letter]) for letter in space)} pixels"]
    sizes = one["pixel_size"]
    if len({sizes[letter]["unit"] if letter in sizes else letter for letter in space}) == 1:
        field = (f"{extents[letter] * sizes[letter]['value']:.4g}" for letter in space)
        words.append(f"{' × '.join(field)} {sizes['x']['unit']}")
    words += [f"{extents[letter]} {AXES[letter].entry}s" for letter in "tpc" if extents.get(letter, 1) > 1]
    return ", ".join(words)


def _step(step: Record) -> str:
    """One step in words, with its arguments and the values that it used."""
    operation = Operation(step["step"], step["arguments"])
    words = operations_in_words(TensorSpec(step["tensor"], axes=(), operations=(operation,)))
    text = words[0][:1].upper() + words[0][1:] if words else f"Numbers as {step['arguments'].get('dtype')}"
    arguments = "".join(f", {name} {value}" for name, value in step["arguments"].items() if value is not None)
    values = "; ".join(_statistic(one) for one in step["statistics"])
    return f"{text} [{step['step']}{arguments}]" + (f": {values}" if values else "")


def _statistic(one: Record) -> str:
    """A statistic with its value, or the range of its values where there are several samples or channels."""
    values = [value for sample in one["values"] for value in sample]
    known = [value for value in values if value is not None]
    if not known:
        return f"{one['statistic']} not a number"
    if len(values) == 1:
        return f"{one['statistic']} {known[0]:.6g}"
    if len(values) <= 4:
        return f"{one['statistic']} {', '.join('not a number' if one is None else f'{one:.6g}' for one in values)}"
    return f"{one['statistic']} {min(known):.6g} to {max(known):.6g} ({len(values)} values)"


def _tiles(plan: Record) -> Iterator[str]:
    tile = _times(plan["tile"].values())
    letters = " ".join(plan["tile"])
    if plan["tiles"] == 1:
        yield f"In one piece of {tile} pixels ({letters})"
    else:
        grid = ", ".join(f"{count} along {letter}" for letter, count in plan["grid"].items() if count > 1)
        yield f"{plan['tiles']} tiles of {tile} pixels ({letters}): {grid}"
        halo = ", ".join(f"{size} along {letter}" for letter, size in plan["halo"].items())
        yield f"Halo in pixels {halo}; computed with each tile and cut off again" if plan["halo"] else "No halo"
    if plan["padding"]:
        added = ", ".join(
            f"{letter} {before} before and {after} after" for letter, (before, after) in plan["padding"].items()
        )
        yield f"Padded by pixels that are cut off again: {added}"
    yield _BORDERS.get(plan["border"], str(plan["border"]))
    computed = f"{plan['computed_per_pixel']:.3g}"
    yield f"{computed} pixel{'s' * (computed != '1')} computed for each pixel of the image"


def _hash(sha256: str | None) -> list[str]:
    return [f"SHA-256 {sha256}"] if sha256 else []


def _times(sizes: Any) -> str:
    return "×".join(str(size) for size in sizes)
