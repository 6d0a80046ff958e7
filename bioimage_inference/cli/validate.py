"""``bioimage-inference validate``: check that a model reproduces its published outputs here."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import BioimageInferenceError, ModelError, ReproductionError, TrustError
from ..files.typed_path import input_path, user_path
from ..options import WeightsName
from ..terminal import progress_display, say, say_json
from ..text import one_line
from .shared_options import (
    DEBUG,
    DEVICE,
    JSON,
    MODEL,
    OFFLINE,
    OVERWRITE,
    QUIET,
    TRUST,
    add_command,
    option_parser,
)

if TYPE_CHECKING:
    from ..model.spec import ModelSpec
    from ..reproduction.validation import HaloFinding, OutputFinding, TileFinding, WeightsFinding

_UNREADABLE = "A tolerance in the description cannot be read."


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    add = own.add_argument
    add("--weights", choices=get_args(WeightsName), help="check only these weights (default: all)")
    add("--halo", action="store_true", help="also measure the receptive field, and whether the halo covers it")
    add("--description", type=input_path, metavar="YAML", help="description (rdf.yaml) of a weights file")
    own.add_argument_group("outputs").add_argument(
        "-o", "--output", type=user_path, default=Path(), metavar="DIR",
        help="folder for pictures of differences (default: the current folder)",
    )  # fmt: skip
    add_command(
        commands,
        run,
        "validate",
        parents=[MODEL, own, OVERWRITE, JSON, DEVICE, TRUST, OFFLINE, QUIET, DEBUG],
        help="check that a model reproduces its published outputs here",
        description="Run a model on the test image in its package and compare the outputs with the published outputs.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the test tensors through every weights entry and print the findings.

    ``--json`` prints ``model`` (as in the record of a prediction) and ``weights``, a list of

    ==================  =============================================================================================
    format, file        of the weights entry
    verdict             ``reproduced``, ``differs``, ``cannot run``, or ``undecided``: the outputs agree, but a
                        tolerance in the description cannot be read
    error, exit_code    why the weights cannot run, else null; 0, 3, 4, 6 or 7
    device              null if the weights cannot run
    outputs             list of ``{id, verdict, reproduced, shape, expected_shape, largest, mean,
                        mismatched_per_million, tolerance: {absolute, relative, per_million, source, notes, certain},
                        picture}``. The differences are null if the shapes differ. ``notes`` list tolerances that
                        cannot be read or exceed the format's limits. ``certain`` is false if an unreadable tolerance
                        may apply
    tiles               the test image in several tiles compared with the whole: ``{tile, count, halo, declared,
                        largest, agrees}``, the last two by output; null if the model's sizes allow only one tile
    halo                null without ``--halo``, else ``{error, axes}``. ``axes`` is a list of ``{axis, declared, used,
                        covers, needs, needs_for_tolerance, tolerance, beyond, tile, complete}`` in pixels of the
                        image. ``needs`` is the receptive field, ``needs_for_tolerance`` its part that changes the
                        output by more than the fraction ``tolerance`` of its range, and ``beyond`` the change by
                        pixels beyond the halo ``used``; null if the network reaches across a whole tile of ``tile``
                        pixels. ``complete`` is false if the search ended early, after a minute or at the tile's end
    ==================  =============================================================================================

    Raises :class:`ReproductionError` if outputs differ, else the error of the first entry that cannot run, or
    :class:`ModelError` for an undecided entry.
    """
    from ..api import open_model
    from ..batch.output_files import output_folder
    from ..machine.sandbox import restricted
    from ..options import Options
    from ..provenance.record import to_json
    from ..provenance.record_builder import planned_model
    from ..reproduction.validation import validate

    names = ("device", "threads", "weights", "trust_model_code")
    options = Options(**{name: getattr(arguments, name) for name in names})
    with progress_display() as display:
        display.wait("reading the model")
        with open_model(arguments.model, description=arguments.description, offline=arguments.offline) as model:
            display.wait("computing the test image")
            with (
                output_folder(arguments.output, keep_empty=False) as folder,
                restricted(model.opened.package.places, [folder], not arguments.no_sandbox),
            ):
                findings = validate(model, options, folder, arguments.halo, overwrite=arguments.overwrite)
            spec = model.spec
    if arguments.json:
        say_json({"model": to_json(planned_model(spec)), "weights": [_as_json(finding) for finding in findings]})
    elif any(finding.error is None for finding in findings):
        say(*_lines(spec, findings))
    _raise_verdict(one_line(spec.name), findings)
    return 0


def _raise_verdict(name: str, findings: Sequence["WeightsFinding"]) -> None:
    """Raise the error that the findings on the model ``name`` amount to, if any."""
    differing = [finding for finding in findings if finding.verdict == "differs"]
    if differing:
        outputs = [output for finding in differing for output in finding.outputs]
        pictures = ", ".join(str(output.picture) for output in outputs if output.picture)
        raise ReproductionError(
            f"{name} runs here with its {_names(differing)} weights, but does not give its published outputs. Do not "
            "trust its results before its authors, or an expert on the network, have found the reason."
            + (f" {pictures} shows the differences." if pictures else "")
            + ("" if all(output.tolerance.certain for output in outputs) else f" {_UNREADABLE} See the note above.")
        )
    failing = [finding for finding in findings if finding.error is not None]
    if len(failing) == len(findings):
        raise _nothing_runs(name, failing)
    first = next((finding for finding in findings if finding.verdict != "reproduced"), None)
    if first is None:
        return
    if first.error is None:
        raise _undecided(name, first)
    running = [finding for finding in findings if finding.error is None]
    raise type(first.error)(
        f"{name} cannot be run here with its {_names(failing)} weights, for the reason given above. Its "
        f"{_names(running)} weights run; to try them alone, add --weights {running[0].entry.format}."
    )


def _nothing_runs(name: str, failing: Sequence["WeightsFinding"]) -> BioimageInferenceError:
    errors = [finding.error for finding in failing if finding.error is not None]
    if len(errors) == 1:
        return errors[0]
    kind = next((type(error) for error in errors if isinstance(error, TrustError)), type(errors[0]))
    reasons = " ".join(f"{_names([finding])}: {finding.error}" for finding in failing)
    return kind(f"None of the weights of {name} can run here. {reasons}")


def _undecided(name: str, finding: "WeightsFinding") -> ModelError:
    notes = [note for output in finding.outputs if output.verdict == "undecided" for note in output.tolerance.notes]
    return ModelError(
        f"{name} runs here with its {_names([finding])} weights, and its outputs agree with the published ones, but "
        f"perhaps not as closely as its authors require. {_UNREADABLE} {one_line(' '.join(dict.fromkeys(notes)))} "
        "Correct the description, or ask the model's authors."
    )


def _as_json(finding: "WeightsFinding") -> dict[str, Any]:
    return {
        "format": finding.entry.format,
        "file": one_line(finding.entry.source),
        "verdict": finding.verdict,
        "error": one_line(finding.error),
        "exit_code": finding.exit_code,
        "device": finding.device,
        "outputs": [_output_as_json(output) for output in finding.outputs],
        "tiles": asdict(finding.tiles) if finding.tiles is not None else None,
        "halo": _halo_as_json(finding),
    }


def _output_as_json(output: "OutputFinding") -> dict[str, Any]:
    comparison = asdict(output.comparison) if output.comparison is not None else {}
    return {
        "id": one_line(output.id),
        "verdict": output.verdict,
        "reproduced": output.verdict == "reproduced",
        "shape": list(output.shape),
        "expected_shape": list(output.expected_shape),
        **{name: comparison.get(name) for name in ("largest", "mean", "mismatched_per_million")},
        "tolerance": {**asdict(output.tolerance), "notes": [one_line(note) for note in output.tolerance.notes]},
        "picture": str(output.picture) if output.picture is not None else None,
    }


def _halo_as_json(finding: "WeightsFinding") -> dict[str, Any] | None:
    from ..inference.receptive_field import TOLERANCE

    if finding.halo is None and finding.halo_error is None:
        return None
    axes = [
        {
            "axis": axis.field.letter,
            "declared": axis.declared,
            "used": axis.used,
            "covers": axis.covers,
            "needs": axis.field.reach,
            "needs_for_tolerance": axis.field.effective,
            "tolerance": TOLERANCE,
            "beyond": axis.field.beyond(axis.used),
            "tile": axis.field.tile,
            "complete": axis.field.complete,
        }
        for axis in finding.halo or ()
    ]
    return {"error": one_line(finding.halo_error), "axes": axes}


def _lines(spec: "ModelSpec", findings: Sequence["WeightsFinding"]) -> Iterator[str]:
    yield str(one_line(spec.name))
    for finding in findings:
        yield f"  weights   {_names([finding])} ({one_line(finding.entry.source)}): {finding.verdict}"
        if finding.device is not None:
            yield f"  device    {finding.device}"
        for output in finding.outputs:
            yield f"  output    {one_line(output.id)}: {_comparison(output)}"
            if output.picture is not None:
                yield f"            {output.picture}"
            yield from (f"  note      {one_line(note)}" for note in output.tolerance.notes)
        if finding.tiles is not None:
            yield from _tile_lines(finding.tiles)
        if finding.halo is not None:
            yield from (f"  halo      {axis.field.letter}: {_halo(axis)}" for axis in finding.halo)
            if not finding.halo:
                yield "  halo      is not needed: images are not cut into tiles for this model"
        if finding.halo_error is not None:
            yield f"  halo      cannot be measured. {one_line(finding.halo_error)}"
        if finding.error is not None:
            yield f"  error     {one_line(finding.error)}"


def _names(findings: Sequence["WeightsFinding"]) -> str:
    from ..model.spec import WEIGHTS_TITLES

    return " and ".join(WEIGHTS_TITLES[finding.entry.format] for finding in findings)


def _comparison(output: "OutputFinding") -> str:
    comparison, tolerance = output.comparison, output.tolerance
    if comparison is None:
        got, expected = ("×".join(map(str, shape)) for shape in (output.shape, output.expected_shape))
        return f"has the shape {got}, expected was {expected}"
    return (
        f"{output.verdict}; largest difference {comparison.largest:.2g}, mean {comparison.mean:.2g}; "
        f"{comparison.mismatched_per_million:.4g} of a million elements beyond the tolerance of "
        f"{tolerance.absolute:g} + {tolerance.relative:g} × expected ({tolerance.per_million:g} are allowed by "
        f"{tolerance.source})"
    )


def _tile_lines(tiles: "TileFinding") -> Iterator[str]:
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


def _halo(axis: "HaloFinding") -> str:
    from ..inference.receptive_field import TOLERANCE

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
