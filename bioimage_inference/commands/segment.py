"""``bioimage-inference segment``: from the prediction of a model to objects."""

import argparse
import math
from contextlib import nullcontext
from pathlib import Path

from ..batch.output_files import output_folder, stem_of
from ..errors import UsageError
from ..options import parse_channels
from ..segmentation.segmenting import SegmentFiles, SegmentOptions, objects_lines, segment_file
from ..terminal import say, say_json


def segment_command(arguments: argparse.Namespace) -> int:
    """Segment a prediction; ``--json`` prints what :func:`segment_file` returns."""
    prediction: Path = arguments.prediction
    files, options = _files(arguments), segment_options(arguments)
    with nullcontext() if arguments.output is None else output_folder(arguments.output):
        objects = segment_file(prediction, files, options, arguments.image, overwrite=arguments.overwrite)
    if arguments.json:
        say_json(objects)
        return 0
    shape = ",".join(map(str, objects["shape"]))
    say(f"[{prediction.name}] axes {objects['axes'].upper()} ({shape})")
    say(*objects_lines(objects))
    return 0


def segment_options(arguments: argparse.Namespace) -> SegmentOptions:
    """The options of ``segment``, or those of ``predict --segment``, whose ``--axes`` are of the image.

    Raises UsageError for a threshold that is no number.
    """
    if not math.isfinite(arguments.threshold):
        raise UsageError(
            f"--threshold {arguments.threshold} is not a number that a map can exceed. Give one such as 0.6."
        )
    predicting = arguments.command == "predict"
    return SegmentOptions(
        foreground=arguments.foreground,
        boundary=arguments.boundary,
        threshold=arguments.threshold,
        min_size=arguments.min_size,
        axes=None if predicting else arguments.axes,
        image_axes=arguments.axes if predicting else None,
        image_channel=parse_channels(arguments.channels)[0] if predicting and arguments.channels else 0,
    )


def _files(arguments: argparse.Namespace) -> SegmentFiles:
    """The files that the options name, by default after the prediction. Raises UsageError where they contradict."""
    named = SegmentFiles(arguments.labels, arguments.table, arguments.overlay)
    if named == SegmentFiles():
        folder = arguments.output or Path()
        stem = stem_of(arguments.prediction.resolve())
        return SegmentFiles(*(folder / f"{stem}_{end}" for end in ("labels.tif", "objects.csv", "overlay.png")))
    if arguments.output is not None:
        raise UsageError(
            "-o names a folder for all outputs, --labels, --table and --overlay name files; give one or the other."
        )
    if len({path.resolve() for path in named.paths}) < len(named.paths):
        raise UsageError("Two of --labels, --table and --overlay name the same file. Give each a name of its own.")
    return named
