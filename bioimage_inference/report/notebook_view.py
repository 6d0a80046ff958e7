"""The view of a prediction in a notebook: a piece of HTML with facts and pictures, which loads nothing."""

from collections.abc import Iterator, Sequence

from ..image.image import Image
from ..provenance.record import RunRecord
from ..text import one_line
from .describe_run import image_line, tiles_in_words
from .pictures import Picture, output_pictures
from .planes import Planes
from .rendering import render

_MOST_PICTURES = 6  # of all outputs: two rows in the width of a notebook
# A picture shows at most so many pixels. A notebook keeps its pictures, and six of this size stay below 1 MB.
_PIXELS = 120_000


def view(title: str, facts: Sequence[tuple[str, str]], outputs: Sequence[Image], notes: Sequence[str] = ()) -> str:
    """Return the HTML: a title, a table of ``facts``, pictures of ``outputs`` (images with the axes y and x), notes."""
    pictures = [picture for output in outputs for picture in _pictures(output)]
    left_out = len(pictures) - _MOST_PICTURES
    if left_out > 0:
        notes = [*notes, f"The first {_MOST_PICTURES} of {len(pictures)} pictures."]
    return render("notebook_view", title=title, facts=facts, pictures=pictures[:_MOST_PICTURES], notes=notes)


def run_facts(run: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield what a reader of a notebook wants to know of a run: images, tiles, device, time."""
    for one in run.inputs:
        yield f"Image ({one.tensor})", one_line(image_line(one))
    yield "Tiles", tiles_in_words(run.plan)
    yield "Device", run.device.reason
    yield "Time", f"{run.seconds['total']:.2f} s"


def _pictures(output: Image) -> Iterator[Picture]:
    sizes = dict(zip(output.axes, output.shape, strict=True))
    planes = Planes(output.name, sizes, output, {}, channel_names=output.channel_names)
    yield from output_pictures(planes, output.name, _PIXELS)
