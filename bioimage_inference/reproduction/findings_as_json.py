"""The findings of a validation as JSON."""

from dataclasses import asdict
from typing import Any

from ..inference.receptive_field import TOLERANCE
from ..text import one_line
from .findings import OutputFinding, WeightsFinding


def finding_as_json(finding: WeightsFinding) -> dict[str, Any]:
    """Return a finding for ``--json``; the command validate lists the keys."""
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
        "advice": _advice_as_json(finding),
    }


def _output_as_json(output: OutputFinding) -> dict[str, Any]:
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


def _halo_as_json(finding: WeightsFinding) -> dict[str, Any] | None:
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


def _advice_as_json(finding: WeightsFinding) -> dict[str, Any] | None:
    if finding.advice is None and finding.advice_error is None:
        return None
    return {"error": one_line(finding.advice_error), **({} if finding.advice is None else asdict(finding.advice))}
