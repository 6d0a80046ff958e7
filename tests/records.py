"""Records of runs that never took place, with a few true facts."""

from collections.abc import Sequence
from typing import Any

from bioimage_inference.provenance.record import SCHEMA, RunRecord, from_json
from bioimage_inference.provenance.record_parts import InputRecord, OutputRecord, PlanRecord

_NETWORK = {"weights": ("format", "file", "sha256"), "engine": ("name", "reason")}


def input_record(axes: str, shape: Sequence[int], **more: Any) -> InputRecord:
    """An image that was given whole."""
    facts = {"tensor": "raw", "name": "a.tif", "file": None, "axes": axes, "axes_from": "file", "shape": shape}
    filled = {"dtype": "uint16", "resized": {}, "pixel_size": {}, "tensor_axes": "bcyx", "iterated_axes": ""}
    hashes = {"samples": 1, "channels": None, "sha256": None, "bytes": None}
    return from_json(InputRecord, {**facts, **filled, **hashes, **more})


def output_record(axes: str, shape: Sequence[int], **more: Any) -> OutputRecord:
    """An output; name its files by ``tiff``, ``npy`` and ``zarr``."""
    facts = {"id": "out", "axes": axes, "shape": shape, "dtype": "float32", "channel_names": (), "pixel_size": {}}
    files = {"tiff": None, "npy": None, "sha256": {"tiff": None, "npy": None}}
    return from_json(OutputRecord, {**facts, **files, **more})


def plan_record(**more: Any) -> PlanRecord:
    """One tile of 64×64."""
    tiles = {"tiles": 1, "grid": {}, "starts": {}, "tile": {"y": 64, "x": 64}}
    margins = {"halo": {}, "padding": {}, "border": "natural", "computed_per_pixel": 1.0}
    return from_json(PlanRecord, {**tiles, **margins, **more})


def run_record(image: InputRecord, output: OutputRecord) -> RunRecord:
    """A run of one image and one output."""
    names = ("source", "description_file", "model_axes", "model_size", "name", "id", "version", "licence", "sha256")
    model = dict.fromkeys(names) | {"source": "model.zip", "name": "A model", "format_version": "0.5.4"}
    network = {part: dict.fromkeys(keys, "") for part, keys in _NETWORK.items()}
    device = {"name": "cpu", "reason": "", "processor": "", "threads": 1, "precision": "float32"}
    content = {
        **{"schema": SCHEMA, "started": "2026-11-21T14:03:00+00:00", "ended": "2026-11-21T14:03:01+00:00"},
        "model": {**model, "authors": [], "cite": []},
        **{"inputs": [image], "plan": plan_record(), "outputs": [output]},
        "memory": {"bytes": 1 << 30, "reason": "", "peak_bytes": 1 << 29},
        **network,
        **{"device": device, "options": {}, "notes": [], "processing": [], "seconds": {"total": 1.0}, "versions": {}},
    }
    return from_json(RunRecord, content)
