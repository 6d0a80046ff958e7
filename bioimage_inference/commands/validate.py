"""``bioimage-inference validate``: does a model give here what its authors published with it?"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..api import open_model
from ..errors import ReproductionError, TrustError
from ..model.spec import ModelSpec
from ..options import Options
from ..report.model_facts import WEIGHTS_NAMES, plain
from ..report.record import describe_model
from ..validation import OutputFinding, TileFinding, WeightsFinding, validate


def validate_command(arguments: argparse.Namespace) -> int:
    """Run the test tensors through every weights entry, and print what was found.

    ``--json`` prints ``model`` (as in the record of a prediction) and ``weights``, a list of

    ==================  =============================================================================================
    format, file        the entry of the description
    verdict             ``reproduced``, ``differs`` or ``cannot run``
    error, exit_code    why it cannot run, else null; 0, 3, 4, 6 or 7
    device              where it was computed; null where it was not
    outputs             list of ``{id, reproduced, shape, expected_shape, largest, mean, mismatched_per_million,
                        tolerance: {absolute, relative, per_million, source}, picture}``; the differences are null
                        where the shapes differ
    tiles               the same image in several tiles beside the whole: ``{tile, count, halo, declared, largest,
                        agrees}``, the last two by output; null where the model's sizes allow one tile only
    ==================  =============================================================================================

    Raises :class:`ReproductionError` where outputs differ; where no entry can run, the error that stands in its way.
    """
    options = Options(device=arguments.device, threads=arguments.threads, trust_model_code=arguments.trust_model_code)
    with open_model(arguments.model, description=arguments.description, offline=arguments.offline) as model:
        findings = validate(model, options, arguments.output, arguments.weights)
        spec = model.spec
    if arguments.json:
        record = {"model": describe_model(spec), "weights": [_record(finding) for finding in findings]}
        print(json.dumps(record, indent=2, ensure_ascii=False))
    elif any(finding.error is None for finding in findings):
        print("\n".join(_lines(spec, findings)))
    _raise_verdict(spec, findings)
    return 0


def _raise_verdict(spec: ModelSpec, findings: Sequence[WeightsFinding]) -> None:
    differing = [finding for finding in findings if finding.verdict == "differs"]
    if differing:
        which = " and ".join(_name(finding) for finding in differing)
        pictures = [str(output.picture) for finding in differing for output in finding.outputs if output.picture]
        raise ReproductionError(
            f"{plain(spec.name)} runs here with its {which} weights, but does not give the outputs that were published "
            "with it: do not trust its results before its authors, or somebody who knows the network, found out why."
            + (f" The differences are shown in {', '.join(pictures)}." if pictures else "")
        )
    errors = [finding.error for finding in findings if finding.error is not None]
    if len(errors) < len(findings):
        return
    if len(errors) == 1:
        raise errors[0]
    kind = next((type(error) for error in errors if isinstance(error, TrustError)), type(errors[0]))
    reasons = " ".join(f"{_name(one)}: {error}" for one, error in zip(findings, errors, strict=True))
    raise kind(f"None of the weights of {plain(spec.name)} can be run here. {reasons}")


def _record(finding: WeightsFinding) -> dict[str, Any]:
    return {
        "format": finding.entry.format,
        "file": plain(finding.entry.source),
        "verdict": finding.verdict,
        "error": plain(str(finding.error)) if finding.error is not None else None,
        "exit_code": finding.exit_code,
        "device": finding.device,
        "outputs": [_output_record(output) for output in finding.outputs],
        "tiles": asdict(finding.tiles) if finding.tiles is not None else None,
    }


def _output_record(output: OutputFinding) -> dict[str, Any]:
    found = output.comparison
    return {
        "id": plain(output.id),
        "reproduced": output.reproduced,
        "shape": list(output.shape),
        "expected_shape": list(output.expected_shape),
        "largest": found.largest if found is not None else None,
        "mean": found.mean if found is not None else None,
        "mismatched_per_million": found.mismatched_per_million if found is not None else None,
        "tolerance": asdict(output.tolerance),
        "picture": str(output.picture) if output.picture is not None else None,
    }


def _lines(spec: ModelSpec, findings: Sequence[WeightsFinding]) -> Iterator[str]:
    yield str(plain(spec.name))
    for finding in findings:
        yield f"  weights   {_name(finding)} ({plain(finding.entry.source)}): {finding.verdict}"
        if finding.device is not None:
            yield f"  device    {finding.device}"
        for output in finding.outputs:
            yield f"  output    {plain(output.id)}: {_output_in_words(output)}"
            if output.picture is not None:
                yield f"            {output.picture}"
        if finding.tiles is not None:
            yield from _tile_lines(finding.tiles)
        if finding.error is not None:
            yield f"  error     {plain(str(finding.error))}"


def _name(finding: WeightsFinding) -> str:
    return WEIGHTS_NAMES[finding.entry.format]


def _output_in_words(output: OutputFinding) -> str:
    found, tolerance = output.comparison, output.tolerance
    if found is None:
        shapes = ["×".join(map(str, shape)) for shape in (output.shape, output.expected_shape)]
        return f"has the shape {shapes[0]}, expected was {shapes[1]}"
    return (
        f"{'reproduced' if output.reproduced else 'differs'}; largest difference {found.largest:.2g}, "
        f"mean {found.mean:.2g}; {found.mismatched_per_million:.4g} of a million elements beyond the tolerance of "
        f"{tolerance.absolute:g} + {tolerance.relative:g} × expected ({tolerance.per_million:g} are allowed by "
        f"{tolerance.source})"
    )


def _tile_lines(tiles: TileFinding) -> Iterator[str]:
    size = "×".join(map(str, tiles.tile.values()))
    halo = max(tiles.halo.values(), default=0)
    for output, largest in tiles.largest.items():
        line = f"  tiles     {plain(output)}: {tiles.count} tiles of {size} ({' '.join(tiles.tile)}) "
        if tiles.agrees[output]:
            yield f"{line}agree with the whole to {largest:.1g}"
        elif tiles.declared:
            yield f"{line}differ from the whole by up to {largest:.2g}: the declared halo of {halo} px is too short"
        else:
            yield f"{line}differ from the whole by up to {largest:.2g}: no halo is declared, and {halo} px are too few"
