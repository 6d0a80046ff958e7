"""``bioimage-inference segment``: find objects in the prediction of a model."""

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..files.typed_path import image_path, input_path, user_path
from ..terminal import say, say_json
from .shared_options import DEBUG, JSON, OBJECTS, ONE_IMAGE, OVERWRITE, QUIET, add_command, option_parser

if TYPE_CHECKING:
    from ..segmentation.segmenting import SegmentFiles, SegmentOptions


OBJECT_FIELDS = (
    *("foreground", "boundary", "threshold"),
    *("min_size", "max_size", "exclude_border", "fill_holes", "stitch"),
)
"""Options of the objects that are fields of ``SegmentOptions``."""


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    add_command(
        commands,
        run,
        "segment",
        parents=[_options(), ONE_IMAGE, OVERWRITE, JSON, OBJECTS, QUIET, DEBUG],
        help="find objects in a predicted foreground and boundary",
        description="Find objects in a predicted foreground and boundary. Writes a label map (0 is background), a "
        "table of sizes, positions and intensities, and an overlay picture. Works in 2-D and 3-D. Each time point is "
        "segmented separately. --series, --level, --well and --field choose an image of the file of --image, or, "
        "without --image, of PREDICTION.",
    )


def _options() -> argparse.ArgumentParser:
    parser = option_parser()
    add = parser.add_argument
    add("prediction", metavar="PREDICTION", type=input_path, help="TIFF or .npy written by predict, or OME-Zarr")
    add("--image", type=image_path, metavar="IMAGE", help="image of the prediction, for intensities and the overlay")
    add("--axes", help="axes of PREDICTION, e.g. tcyx; overrides the file's own metadata")
    output = parser.add_argument_group("outputs").add_argument
    output("-o", "--output", type=user_path, metavar="DIR", help="folder for all outputs (default: the current folder)")
    output("--labels", type=user_path, metavar="FILE", help="TIFF for the label map")
    output("--table", type=user_path, metavar="FILE", help="table of objects: .csv, or .tsv with tabs")
    output("--overlay", type=user_path, metavar="FILE", help="PNG of the outlines over the image")
    output("--rois-zip", type=user_path, metavar="FILE", help="regions of interest: ROI set for ImageJ")
    output("--rois-geojson", type=user_path, metavar="FILE", help="regions of interest: GeoJSON for QuPath")
    output("--rois-table", type=user_path, metavar="FILE", help="regions of interest: table for OMERO")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Segment a prediction. ``--json`` prints the entry ``objects`` of a record."""
    from ..batch.output_files import output_folder
    from ..image.series import Selection
    from ..image.writers.zarr_additions import LABELS, addition_place
    from ..provenance.record import to_json
    from ..report.describe_run import objects_lines
    from ..segmentation.segmenting import segment_file

    prediction: Path = arguments.prediction
    files, options = _files(arguments), object_options(arguments, axes=arguments.axes)
    if arguments.add_labels is not None:
        files = replace(files, zarr=addition_place(arguments.image or prediction, LABELS, arguments.add_labels))
    selection = Selection(arguments.series, arguments.level, arguments.well, arguments.field)
    with nullcontext() if arguments.output is None else output_folder(arguments.output):
        image = arguments.image
        objects = segment_file(prediction, files, options, image, selection=selection, overwrite=arguments.overwrite)
    if arguments.json:
        say_json(to_json(objects))
    else:
        assert objects.axes is not None
        assert objects.shape is not None
        shape = ",".join(map(str, objects.shape))
        say(f"[{prediction.name}] axes {objects.axes.upper()} ({shape})", *objects_lines(objects))
    return 0


def object_options(arguments: argparse.Namespace, **more: Any) -> "SegmentOptions":
    """Return the options of segmentation: the parsed options of ``OBJECTS``, and ``more`` fields by name."""
    from ..segmentation.segmenting import SegmentOptions

    parsed = {name: getattr(arguments, name) for name in OBJECT_FIELDS}
    return SegmentOptions(**{name: value for name, value in parsed.items() if value is not None}, **more)


def _files(arguments: argparse.Namespace) -> "SegmentFiles":
    """Return the files that the options name, by default files named after the prediction.

    Raises :class:`UsageError` for options that contradict each other.
    """
    from ..batch.output_files import object_files, stem_of
    from ..provenance.record_parts import OBJECT_FILES
    from ..segmentation.segmenting import SegmentFiles

    named = SegmentFiles(**{kind: getattr(arguments, kind) for kind, end in OBJECT_FILES.items() if end})
    if not named.named:
        start = (arguments.output or Path()) / stem_of(arguments.prediction.resolve())
        return object_files(start, rois=arguments.rois)
    given = " and ".join(f"--{kind.replace('_', '-')}" for kind in named.named)
    if arguments.output is not None or arguments.rois:
        all_files = "-o" if arguments.output is not None else "--rois"
        raise UsageError(f"{all_files} gives files their usual names, but {given} names files: give one or the other.")
    return named
