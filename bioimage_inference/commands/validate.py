"""``bioimage-inference validate``: does a model give here what its authors published with it?"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..api import open_model
from ..batch.output_files import output_folder
from ..batch.progress import shown
from ..errors import BioimageInferenceError, ModelError, ReproductionError, TrustError
from ..inference.receptive_field import TOLERANCE
from ..machine.sandbox import restricted
from ..model.spec import ModelSpec
from ..options import Options
from ..provenance.record import to_json
from ..provenance.record_builder import planned_model
from ..report.model_facts import WEIGHTS_NAMES
from ..reproduction.validation import HaloFinding, OutputFinding, TileFinding, WeightsFinding, validate
from ..terminal import say, say_json
from ..text import one_line

_UNREADABLE = "A tolerance in the description cannot be read."


def validate_command(arguments: argparse.Namespace) -> int:
    """Run the test tensors through every weights entry, and print what was found.

    ``--json`` prints ``model`` (as in the record of a prediction) and ``weights``, a list of

    ==================  =============================================================================================
    format, file        the entry of the description
    verdict             ``reproduced``, ``undecided`` (the outputs agree, but an entry of the description that may set
                        another tolerance cannot be read), ``differs`` or ``cannot run``
    error, exit_code    why it cannot run, else null; 0, 3, 4, 6 or 7
    device              where it was computed; null where it was not
    outputs             list of ``{id, verdict, reproduced, shape, expected_shape, largest, mean,
                        mismatched_per_million, tolerance: {absolute, relative, per_million, source, notes, certain},
                        picture}``; the differences are null where the shapes differ. ``notes`` say which entries of
                        the description cannot be read or ask for more than the format allows; ``certain`` is false
                        where one that cannot be read may apply
    tiles               the same image in several tiles beside the whole: ``{tile, count, halo, declared, largest,
                        agrees}``, the last two by output; null where the model's sizes allow one tile only
    halo                with ``--halo``, else null: ``{error, axes}``. ``error`` says why nothing could be measured, or
                        is null; ``axes`` is a list of ``{axis, declared, used, covers, needs, needs_for_tolerance,
                        tolerance, beyond, tile, complete}`` in pixels of the image. ``declared`` is the description's
                        halo (0: none), ``used`` the one between tiles, ``needs`` that with which a tile sees all that
                        the network looks at, ``needs_for_tolerance`` all that changes the output by more than the part
                        ``tolerance`` of its range, ``beyond`` the change by what lies beyond ``used``; null where that
                        reaches to the end of a tile of ``tile`` pixels. ``complete`` is false where the search ended
                        early: at the end of the tile, or after a minute
    ==================  =============================================================================================

    Raises :class:`ReproductionError` where outputs differ; else the error of the first entry that cannot run, or
    :class:`ModelError` where it is undecided.
    """
    options = Options(device=arguments.device, threads=arguments.threads, trust_model_code=arguments.trust_model_code)
    with shown() as display:
        display.wait("reading the model")
        with open_model(arguments.model, description=arguments.description, offline=arguments.offline) as model:
            display.wait("computing the test image")
            with (
                output_folder(arguments.output, keep_empty=False),
                restricted(model.opened.package.places, [arguments.output], not arguments.no_sandbox),
            ):
                findings = validate(
                    model, options, arguments.output, arguments.weights, arguments.halo, overwrite=arguments.overwrite
                )
            spec = model.spec
    if arguments.json:
        record = {"model": to_json(planned_model(spec)), "weights": [_record(finding) for finding in findings]}
        say_json(record)
    elif any(finding.error is None for finding in findings):
        say(*_lines(spec, findings))
    _raise_verdict(spec, findings)
    return 0


def _raise_verdict(spec: ModelSpec, findings: Sequence[WeightsFinding]) -> None:
    differing = [finding for finding in findings if finding.verdict == "differs"]
    if differing:
        outputs = [output for finding in differing for output in finding.outputs]
        pictures = [str(output.picture) for output in outputs if output.picture]
        raise ReproductionError(
            f"{one_line(spec.name)} runs here with its {_names(differing)} weights, but does not give the outputs that "
            "were published with it: do not trust its results before its authors, or somebody who knows the network, "
            "found out why."
            + (f" The differences are shown in {', '.join(pictures)}." if pictures else "")
            + ("" if all(output.tolerance.certain for output in outputs) else f" {_UNREADABLE} See the note above.")
        )
    failing = [finding for finding in findings if finding.error is not None]
    if len(failing) == len(findings):
        raise _nothing_runs(spec, failing)
    first = next((finding for finding in findings if finding.verdict != "reproduced"), None)
    if first is None:
        return
    if first.error is None:
        raise _undecided(spec, first)
    running = [finding for finding in findings if finding.error is None]
    raise type(first.error)(
        f"{one_line(spec.name)} cannot be run here with its {_names(failing)} weights, for the reason given above. Its "
        f"{_names(running)} weights run; to try them alone, add --weights {running[0].entry.format}."
    )


def _nothing_runs(spec: ModelSpec, failing: Sequence[WeightsFinding]) -> BioimageInferenceError:
    errors = [finding.error for finding in failing if finding.error is not None]
    if len(errors) == 1:
        return errors[0]
    kind = next((type(error) for error in errors if isinstance(error, TrustError)), type(errors[0]))
    reasons = " ".join(f"{_names([finding])}: {finding.error}" for finding in failing)
    return kind(f"None of the weights of {one_line(spec.name)} can be run here. {reasons}")


def _undecided(spec: ModelSpec, finding: WeightsFinding) -> ModelError:
    notes = [note for output in finding.outputs if output.verdict == "undecided" for note in output.tolerance.notes]
    return ModelError(
        f"{one_line(spec.name)} runs here with its {_names([finding])} weights, and its outputs agree with the "
        f"published ones, but perhaps not as closely as its authors ask. {_UNREADABLE} "
        f"{one_line(' '.join(dict.fromkeys(notes)))} Correct the description, or ask the model's authors."
    )


def _record(finding: WeightsFinding) -> dict[str, Any]:
    return {
        "format": finding.entry.format,
        "file": one_line(finding.entry.source),
        "verdict": finding.verdict,
        "error": one_line(str(finding.error)) if finding.error is not None else None,
        "exit_code": finding.exit_code,
        "device": finding.device,
        "outputs": [_output_record(output) for output in finding.outputs],
        "tiles": asdict(finding.tiles) if finding.tiles is not None else None,
        "halo": _halo_record(finding),
    }


def _halo_record(finding: WeightsFinding) -> dict[str, Any] | None:
    if finding.halo is None and finding.halo_error is None:
        return None
    return {
        "error": one_line(str(finding.halo_error)) if finding.halo_error is not None else None,
        "axes": [
            {
                "axis": one.field.letter,
                "declared": one.declared,
                "used": one.used,
                "covers": one.covers,
                "needs": one.field.reach,
                "needs_for_tolerance": one.field.effective,
                "tolerance": TOLERANCE,
                "beyond": one.field.beyond(one.used),
                "tile": one.field.tile,
                "complete": one.field.complete,
            }
            for one in finding.halo or ()
        ],
    }


def _output_record(output: OutputFinding) -> dict[str, Any]:
    found = output.comparison
    return {
        "id": one_line(output.id),
        "verdict": output.verdict,
        "reproduced": output.verdict == "reproduced",
        "shape": list(output.shape),
        "expected_shape": list(output.expected_shape),
        "largest": found.largest if found is not None else None,
        "mean": found.mean if found is not None else None,
        "mismatched_per_million": found.mismatched_per_million if found is not None else None,
        "tolerance": {**asdict(output.tolerance), "notes": [one_line(note) for note in output.tolerance.notes]},
        "picture": str(output.picture) if output.picture is not None else None,
    }


def _lines(spec: ModelSpec, findings: Sequence[WeightsFinding]) -> Iterator[str]:
    yield str(one_line(spec.name))
    for finding in findings:
        yield f"  weights   {_names([finding])} ({one_line(finding.entry.source)}): {finding.verdict}"
        if finding.device is not None:
            yield f"  device    {finding.device}"
        for output in finding.outputs:
            yield f"  output    {one_line(output.id)}: {_output_in_words(output)}"
            if output.picture is not None:
                yield f"            {output.picture}"
            yield from (f"  note      {one_line(note)}" for note in output.tolerance.notes)
        if finding.tiles is not None:
            yield from _tile_lines(finding.tiles)
        if finding.halo is not None:
            yield from _halo_lines(finding.halo)
        if finding.halo_error is not None:
            yield f"  halo      cannot be measured. {one_line(str(finding.halo_error))}"
        if finding.error is not None:
            yield f"  error     {one_line(str(finding.error))}"


def _names(findings: Sequence[WeightsFinding]) -> str:
    return " and ".join(WEIGHTS_NAMES[finding.entry.format] for finding in findings)


def _output_in_words(output: OutputFinding) -> str:
    found, tolerance = output.comparison, output.tolerance
    if found is None:
        shapes = ["×".join(map(str, shape)) for shape in (output.shape, output.expected_shape)]
        return f"has the shape {shapes[0]}, expected was {shapes[1]}"
    return (
        f"{output.verdict}; largest difference {found.largest:.2g}, "
        f"mean {found.mean:.2g}; {found.mismatched_per_million:.4g} of a million elements beyond the tolerance of "
        f"{tolerance.absolute:g} + {tolerance.relative:g} × expected ({tolerance.per_million:g} are allowed by "
        f"{tolerance.source})"
    )


def _tile_lines(tiles: TileFinding) -> Iterator[str]:
    size = "×".join(map(str, tiles.tile.values()))
    halo = max(tiles.halo.values(), default=0)
    for output, largest in tiles.largest.items():
        line = f"  tiles     {one_line(output)}: {tiles.count} tiles of {size} ({' '.join(tiles.tile)}) "
        if tiles.agrees[output]:
            yield f"{line}agree with the whole to {largest:.1g}"
        elif tiles.declared:
            yield f"{line}differ from the whole by up to {largest:.2g}: the declared halo of {halo} px is too short"
        else:
            yield f"{line}differ from the whole by up to {largest:.2g}: no halo is declared, and {halo} px are too few"


def _halo_lines(halo: Sequence[HaloFinding]) -> Iterator[str]:
    for one in halo:
        yield f"  halo      {one.field.letter}: {_halo_in_words(one)}"
    if not halo:
        yield "  halo      is not needed: images are not cut into tiles for this model"


def _halo_in_words(one: HaloFinding) -> str:
    field = one.field
    words = f"declares {one.declared or 'none'}"
    if one.used != one.declared:
        words += f" ({one.used} px are used)"
    if not field.largest:
        return f"{words}; the output does not change with the image, so that nothing can be measured"
    if field.effective is None:
        return (
            f"{words}: too short. The network reaches across the whole tile of {field.tile} px, "
            f"more than {len(field.changes)} px to either side"
        )
    needs = f"needs {field.reach}" if field.reach is not None else f"needs more than {len(field.changes)}"
    words += f", {needs}: {'enough' if one.covers else 'too short'}"
    beyond = field.beyond(one.used)
    if beyond:
        words += f". On noise, pixels beyond the halo change the output by up to {beyond:.2g} of its range"
    if not one.covers:
        words += f", those beyond {field.effective} px by less than {TOLERANCE:g}"
    return words if field.complete else f"{words} (at least: it took too long to look everywhere)"
