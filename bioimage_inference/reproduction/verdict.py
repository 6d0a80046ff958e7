"""The verdict on the findings of a validation: no error, or one."""

from collections.abc import Sequence

from ..errors import BioimageInferenceError, ModelError, ReproductionError, TrustError
from ..text import one_line
from .findings import WeightsFinding
from .findings_in_words import weights_names

_UNREADABLE = "A tolerance in the description cannot be read."


def raise_verdict(name: str, findings: Sequence[WeightsFinding]) -> None:
    """Raise the error that the findings on the model ``name`` amount to, if any.

    It is :class:`ReproductionError` if outputs differ, else the error of the first entry that cannot run, or
    :class:`ModelError` for an undecided entry.
    """
    differing = [finding for finding in findings if finding.verdict == "differs"]
    if differing:
        outputs = [output for finding in differing for output in finding.outputs]
        pictures = ", ".join(str(output.picture) for output in outputs if output.picture)
        raise ReproductionError(
            f"{name} runs here with its {weights_names(differing)} weights, but does not give its published outputs. "
            "Do not trust its results before its authors, or an expert on the network, have found the reason."
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
        f"{name} cannot be run here with its {weights_names(failing)} weights, for the reason given above. Its "
        f"{weights_names(running)} weights run; to try them alone, add --weights {running[0].entry.format}."
    )


def _nothing_runs(name: str, failing: Sequence[WeightsFinding]) -> BioimageInferenceError:
    errors = [finding.error for finding in failing if finding.error is not None]
    if len(errors) == 1:
        return errors[0]
    kind = next((type(error) for error in errors if isinstance(error, TrustError)), type(errors[0]))
    reasons = " ".join(f"{weights_names([finding])}: {finding.error}" for finding in failing)
    return kind(f"None of the weights of {name} can run here. {reasons}")


def _undecided(name: str, finding: WeightsFinding) -> ModelError:
    notes = [note for output in finding.outputs if output.verdict == "undecided" for note in output.tolerance.notes]
    return ModelError(
        f"{name} runs here with its {weights_names([finding])} weights, and its outputs agree with the published ones, "
        f"but perhaps not as closely as its authors require. {_UNREADABLE} {one_line(' '.join(dict.fromkeys(notes)))} "
        "Correct the description, or ask the model's authors."
    )
