"""The findings of a validation in words, for the terminal and for the page."""

from collections.abc import Iterator, Sequence

from ..inference.receptive_field import TOLERANCE
from ..model.spec import WEIGHTS_TITLES
from ..text import byte_size, counted, one_line, times
from .findings import HaloFinding, OutputFinding, TileFinding, WeightsFinding
from .tile_advice import TileAdvice


def weights_names(findings: Sequence[WeightsFinding]) -> str:
    """Return the names of the weights of some findings, each once."""
    return " and ".join(dict.fromkeys(WEIGHTS_TITLES[finding.entry.format] for finding in findings))


def facts(finding: WeightsFinding) -> Iterator[tuple[str, str]]:
    """Yield what was found, as pairs of a heading and a sentence. A picture of a difference has no heading."""
    if finding.device is not None:
        yield "device", finding.device
    for output in finding.outputs:
        yield "output", f"{one_line(output.id)}: {_comparison(output)}"
        if output.picture is not None:
            yield "", str(output.picture)
        yield from (("note", str(one_line(note))) for note in output.tolerance.notes)
    if finding.tiles is not None:
        yield from (("tiles", words) for words in _tiles(finding.tiles))
    if finding.halo is not None:
        yield from (("halo", f"{axis.field.letter}: {_halo(axis)}") for axis in finding.halo)
        if not finding.halo:
            yield "halo", "is not needed: images are not cut into tiles for this model"
    if finding.halo_error is not None:
        yield "halo", f"cannot be measured. {one_line(finding.halo_error)}"
    if finding.advice is not None:
        yield from _advice(finding.advice)
    if finding.advice_error is not None:
        yield "large", f"a large image cannot be computed within the memory. {one_line(finding.advice_error)}"
    if finding.error is not None:
        yield "error", str(one_line(finding.error))


def _comparison(output: OutputFinding) -> str:
    comparison, tolerance = output.comparison, output.tolerance
    if comparison is None:
        got, expected = map(times, (output.shape, output.expected_shape))
        return f"has the shape {got}, expected was {expected}"
    return (
        f"{output.verdict}; largest difference {comparison.largest:.2g}, mean {comparison.mean:.2g}; "
        f"{comparison.mismatched_per_million:.4g} of a million elements beyond the tolerance of "
        f"{tolerance.absolute:g} + {tolerance.relative:g} × expected ({tolerance.per_million:g} are allowed by "
        f"{tolerance.source})"
    )


def _tiles(tiles: TileFinding) -> Iterator[str]:
    size = times(tiles.tile.values())
    halo = max(tiles.halo.values(), default=0)
    for output, largest in tiles.largest.items():
        words = f"{one_line(output)}: {tiles.count} tiles of {size} ({' '.join(tiles.tile)}) "
        if tiles.agrees[output]:
            yield f"{words}agree with the whole to {largest:.1g}"
        elif tiles.declared:
            yield f"{words}differ from the whole by up to {largest:.2g}: the declared halo of {halo} px is too short"
        else:
            yield f"{words}differ from the whole by up to {largest:.2g}: no halo is declared, and {halo} px are too few"


def _advice(advice: TileAdvice) -> Iterator[tuple[str, str]]:
    """Yield how a large image is computed, and whether its tiles can be joined."""
    if advice.over_tile:
        yield "joining", f"the result depends on the size of the tiles ({', '.join(advice.over_tile)})"
    if advice.bytes_per_pixel is not None:
        yield "memory", f"{advice.bytes_per_pixel:,.0f} bytes for each pixel of a tile, besides the program"
    image, tile = times(advice.image.values()), times(advice.tile.values())
    slabs = ", computed slab by slab" if advice.in_slabs else ""
    yield (
        "large",
        f"an image of {image} ({' '.join(advice.image)}) within {advice.memory}: {counted(advice.tiles, 'tile')} of "
        f"{tile}{slabs}; the process needs {byte_size(advice.needed)}",
    )


def _halo(axis: HaloFinding) -> str:
    field = axis.field
    words = f"declares {axis.declared or 'none'}"
    if axis.used != axis.declared:
        words += f" ({axis.used} px are used)"
    if not field.largest:
        return f"{words}; the output does not change with the image, so the receptive field cannot be measured"
    if field.effective is None:
        return (
            f"{words}: too short. The network reaches across the whole tile of {field.tile} px, "
            f"more than {len(field.changes)} px to either side"
        )
    needs = f"needs {field.reach}" if field.reach is not None else f"needs more than {len(field.changes)}"
    words += f", {needs}: {'enough' if axis.covers else 'too short'}"
    beyond = field.beyond(axis.used)
    if beyond:
        words += f". On noise, pixels beyond the halo change the output by up to {beyond:.2g} of its range"
    if not axis.covers:
        words += f", pixels beyond {field.effective} px by less than {TOLERANCE:g}"
    return words if field.complete else f"{words} (at least: it took too long to look everywhere)"
