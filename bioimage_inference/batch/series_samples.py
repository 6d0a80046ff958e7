"""From files with several images to the images of a run: the series that the user selects, or all fields of a plate."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..errors import BioimageInferenceError, UsageError
from ..files.typed_path import check_online
from ..image.readers.reading import selected_series
from ..image.series import Selection, Series
from ..text import for_file_name
from .sample_sheet import Sample


def selected_samples(samples: Sequence[Sample], selection: Selection, *, offline: bool) -> list[Sample]:
    """Return the images of a run: for each file those that are selected, in the order of the file.

    A file that cannot be read stays as it is, so that its error is reported in its turn. Raises :class:`UsageError` for
    an address in a run without network, and for a column of a sample sheet that the file fills itself.
    """
    return [one for sample in samples for one in _of_file(sample, selection, offline)]


def _of_file(sample: Sample, selection: Selection, offline: bool) -> Iterator[Sample]:
    check_online(sample.image, offline=offline)
    try:
        found = selected_series(sample.image, selection)
    except BioimageInferenceError:
        found = []
    if not found:
        yield replace(sample, selection=selection)
        return
    labels = [for_file_name(one.label) for one in found]
    counts = Counter(labels)
    for one, label in zip(found, labels, strict=True):
        yield _sample(sample, one, label if counts[label] == 1 else f"{one.number}_{label}", selection.level)


def _sample(sample: Sample, one: Series, label: str, level: int) -> Sample:
    """Return the sample of an image. It is opened in its own folder if it has one, and by its number otherwise."""
    facts = {"series": one.name or str(one.number)}
    if one.well is not None:
        facts = {"well": one.well, "field": one.field or ""}
    taken = next((name for name in facts if name in sample.metadata), None)
    if taken is not None:
        raise UsageError(
            f"{sample.name} has several images, and the tables name them in the column {taken!r}, which the sample "
            "sheet has as well. Rename the column of the sheet."
        )
    place = one.place or sample.image
    return replace(
        sample,
        image=place,
        name=f"{sample.name} {label}",
        metadata=MappingProxyType({**sample.metadata, **facts}),
        selection=Selection(level=level) if one.place else Selection(series=one.number, level=level),
        label=label,
        given=sample.image,
    )
