"""``bioimage-inference rerun``: repeat a recorded run and compare the outputs."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ReproductionError
from ..files.typed_path import input_path, user_path
from ..terminal import progress_display, say, say_json
from .shared_options import DEBUG, JSON, OFFLINE, OVERWRITE, QUIET, TRUST, add_command, option_parser
from .typed_options import refuse_unused

if TYPE_CHECKING:
    from ..reproduction.recorded_run import Change, FileFinding, Rerun


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument("record", metavar="PROVENANCE", type=input_path, help="a *_provenance.json written by predict")
    own.add_argument_group("outputs").add_argument(
        "-o",
        "--output",
        type=user_path,
        metavar="DIR",
        help="keep the new outputs in this folder (default: remove them)",
    )
    add_command(
        commands,
        run,
        "rerun",
        parents=[own, OVERWRITE, JSON, TRUST, OFFLINE, QUIET, DEBUG],
        help="repeat a run from its record and compare the outputs",
        description="Repeat a run from its record, with the same options, tiles, engine and device, and report whether "
        "the outputs are identical. Model and images must be the recorded ones.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Repeat the run of a record and print whether its outputs are identical.

    ``--json`` prints

    =========== ========================================================================================================
    record      path of the record
    identical   whether all files have the same bytes
    reproduced  whether all files have the same numbers; their metadata may differ, for example between versions
    outputs     list of ``{id, name, path, verdict, recorded_sha256, sha256, largest}``. ``name`` is the file name,
                ``path`` is null without ``-o``. ``verdict`` is ``identical``, ``same values`` or ``differs``.
                ``largest`` is the largest difference, null if the recorded file cannot be compared
    changes     list of ``{key, recorded, now}``: differences in versions, device, engine, tiling and weights
    =========== ========================================================================================================

    Raises :class:`ReproductionError` if numbers differ, and the errors of
    :func:`~bioimage_inference.reproduction.recorded_run.rerun`.
    """
    from ..batch.output_files import output_folder
    from ..files.scratch import scratch_folder
    from ..reproduction.recorded_run import rerun

    record: Path = arguments.record
    kept: Path | None = arguments.output
    if kept is None:
        refuse_unused(arguments, ["--overwrite"], "without -o, because no output is kept", "Add -o DIR")
    with (
        scratch_folder() if kept is None else output_folder(kept) as folder,
        progress_display() as display,
    ):
        progress = display.image(record.name)
        display.wait("checking the model and the images")
        repetition = rerun(
            record,
            folder,
            offline=arguments.offline,
            trust_model_code=arguments.trust_model_code,
            overwrite=arguments.overwrite,
            sandbox=not arguments.no_sandbox,
            progress=progress,
        )
    if arguments.json:
        say_json(_as_json(record, repetition, kept=kept is not None))
    else:
        say(*_lines(record, repetition))
    if not repetition.reproduced:
        raise ReproductionError(_difference(record, repetition))
    return 0


def _as_json(record: Path, repetition: "Rerun", kept: bool) -> dict[str, Any]:
    return {
        "record": str(record),
        "identical": repetition.identical,
        "reproduced": repetition.reproduced,
        "outputs": [
            {"id": output.id, "name": output.path.name, **asdict(output), "path": str(output.path) if kept else None}
            for output in repetition.outputs
        ],
        "changes": [asdict(change) for change in repetition.changes],
    }


def _lines(record: Path, repetition: "Rerun") -> Iterator[str]:
    verdict = "identical" if repetition.identical else "the same values" if repetition.reproduced else "different"
    yield f"[{record.name}] repeated: the predicted outputs are {verdict}"
    for output in repetition.outputs:
        yield f"  output  {output.path.name}: {_verdict(output)}"
    for change in repetition.changes:
        yield f"  change  {_change(change)}"


def _verdict(output: "FileFinding") -> str:
    if output.verdict == "identical":
        return "identical"
    if output.verdict == "same values":
        return "the same values; its metadata differ"
    if output.largest is None:
        return "differs; by how much is unknown, because the recorded file is missing, changed, or of another shape"
    return f"differs by up to {output.largest:.2g}"


def _change(change: "Change") -> str:
    return f"{change.key}: {_value(change.recorded)} was recorded, {_value(change.now)} now"


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _difference(record: Path, repetition: "Rerun") -> str:
    differing = [output for output in repetition.outputs if output.verdict == "differs"]
    files = "; ".join(f"{output.path.name} {_verdict(output)}" for output in differing)
    text = f"The repetition of {record} does not give the recorded outputs: {files}. "
    if repetition.changes:
        changes = "; ".join(map(_change, repetition.changes))
        return f"{text}Not as recorded: {changes}. Other versions and processors round the last digits differently."
    return (
        f"{text}Versions, device and tiles are as recorded. Either the network gives different results for the same "
        "input, or the record was changed."
    )
