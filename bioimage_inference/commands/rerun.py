"""``bioimage-inference rerun``: does a recorded run give the same outputs again?"""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..batch.output_files import output_folder
from ..batch.progress import shown
from ..errors import ReproductionError
from ..files.scratch import scratch_folder
from ..reproduction.recorded_run import Change, FileFinding, Rerun, rerun
from ..terminal import say, say_json


def rerun_command(arguments: argparse.Namespace) -> int:
    """Repeat the run of a record, and print whether its outputs are identical.

    ``--json`` prints

    =========== ========================================================================================================
    record      path of the record
    identical   whether all files have the same bytes
    reproduced  whether they have the same numbers; files with other metadata, say of another version, do
    outputs     list of ``{id, name, path, verdict, recorded_sha256, sha256, largest}``; ``name`` is the file's,
                ``path`` null without ``-o``; ``verdict`` is ``identical``, ``same values`` or ``differs``; ``largest``
                is the largest difference, null where it cannot be told
    changes     list of ``{key, recorded, now}``: versions, device, engine, tiling and weights that are not as recorded
    =========== ========================================================================================================

    Raises :class:`ReproductionError` where numbers differ, and what
    :func:`~bioimage_inference.reproduction.recorded_run.rerun` does.
    """
    record: Path = arguments.record
    with _folder(arguments.output) as folder, shown() as display:
        progress = display.image(record.name)
        display.wait("checking the model and the images")
        found = rerun(
            record,
            folder,
            offline=arguments.offline,
            trust_model_code=arguments.trust_model_code,
            overwrite=arguments.overwrite,
            sandbox=not arguments.no_sandbox,
            progress=progress,
        )
    if arguments.json:
        say_json(_described(record, found, kept=arguments.output is not None))
    else:
        say(*_lines(record, found))
    if not found.reproduced:
        raise ReproductionError(_difference(record, found))
    return 0


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """The folder for the outputs; without a wish one that is removed in the end."""
    if wanted is not None:
        with output_folder(wanted):
            yield wanted
        return
    with scratch_folder() as folder:
        yield folder


def _described(record: Path, found: Rerun, kept: bool) -> dict[str, Any]:
    return {
        "record": str(record),
        "identical": found.identical,
        "reproduced": found.reproduced,
        "outputs": [
            {"id": one.id, "name": one.path.name, **asdict(one), "path": str(one.path) if kept else None}
            for one in found.outputs
        ],
        "changes": [asdict(one) for one in found.changes],
    }


def _lines(record: Path, found: Rerun) -> Iterator[str]:
    verdict = "identical" if found.identical else "the same values" if found.reproduced else "different"
    yield f"[{record.name}] repeated: the predicted outputs are {verdict}"
    for one in found.outputs:
        yield f"  output  {one.path.name}: {_in_words(one)}"
    for change in found.changes:
        yield f"  change  {_then_and_now(change)}"


def _in_words(one: FileFinding) -> str:
    if one.verdict == "identical":
        return "identical"
    if one.verdict == "same values":
        return "the same values; its metadata differ"
    if one.largest is None:
        return "differs; by how much cannot be told, because the recorded file is gone, changed, or of another shape"
    return f"differs by up to {one.largest:.2g}"


def _then_and_now(change: Change) -> str:
    return f"{change.key}: {_value(change.recorded)} was recorded, {_value(change.now)} now"


def _value(value: Any) -> str:
    return (
        "nothing" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else f"{value}"
    )


def _difference(record: Path, found: Rerun) -> str:
    files = "; ".join(f"{one.path.name} {_in_words(one)}" for one in found.outputs if one.verdict == "differs")
    text = f"The repetition of {record} does not give the recorded outputs: {files}. "
    if found.changes:
        changes = "; ".join(map(_then_and_now, found.changes))
        return f"{text}Not as recorded: {changes}. Other versions and processors round the last digits differently."
    return (
        f"{text}Versions, device and tiles are as recorded: the network itself does not give the same twice, or the "
        "record was changed."
    )
