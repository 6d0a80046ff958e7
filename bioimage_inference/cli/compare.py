"""``bioimage-inference compare``: run several models on an image, and find out which of them suits the image."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BioimageInferenceError, UsageError
from ..files.typed_path import check_online, image_path, user_path
from ..terminal import progress_display, say, say_json
from ..text import counted
from .models import has_words
from .segment import OBJECT_FIELDS, object_options
from .shared_options import (
    DEBUG,
    DEVICE,
    JSON,
    OBJECT_CHOICES,
    OFFLINE,
    ONE_IMAGE,
    OVERWRITE,
    QUIET,
    TRUST,
    add_command,
    option_parser,
)

if TYPE_CHECKING:
    from ..comparison.comparing import Candidate, Task
    from ..comparison.results import Comparison
    from ..options import Options

PAGE, TABLE = "comparison.html", "comparison.csv"
_SMALLEST_CROP = 32


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    add_command(
        commands,
        run,
        "compare",
        parents=[
            _options(),
            ONE_IMAGE,
            OVERWRITE,
            JSON,
            OBJECT_CHOICES,
            DEVICE,
            _memory(),
            TRUST,
            OFFLINE,
            QUIET,
            DEBUG,
        ],
        help="find out which of several models suits an image, with or without true objects",
        description="Run several models on a crop of an image, and on changed copies of the crop (noise, brightness, "
        "gamma, blur, flips). A model that suits the image finds the same objects each time. Writes a page with the "
        "outlines of each model, a table and a recommendation. --truth compares with true objects instead.",
    )


def _options() -> argparse.ArgumentParser:
    parser = option_parser()
    parser.add_argument("images", nargs="+", type=image_path, metavar="IMAGE",
                        help="image, or several images over which the scores are averaged")  # fmt: skip
    add = parser.add_argument_group("models").add_argument
    add("--models", nargs="+", default=[], metavar="MODEL",
        help="models to compare: packages, folders, weights files or zoo ids")  # fmt: skip
    add("--search", metavar="WORDS",
        help="also compare all zoo models in the cache with all these words in id, name, tags or authors, e.g. nuclei",
    )  # fmt: skip
    add = parser.add_argument_group("image").add_argument
    add("--axes", help="axes of the image file, e.g. tzyx; overrides the file's own metadata")
    add("--channels", metavar="C,C",
        help="channels of the image in the model's order: numbers from 0 or names, e.g. 2,1,0 or DAPI,GFP")  # fmt: skip
    add("--pixel-size", metavar="SIZE",
        help="pixel size of the image in µm, e.g. 0.1, or 1,0.1,0.1 for z,y,x; overrides the file's own metadata",
    )  # fmt: skip
    add("--rescale", action="store_true",
        help="resample the image to the pixel size of each model, and the outputs back")  # fmt: skip
    add("--crop", type=_crop, metavar="N",
        help="edge of the crop along y and x in pixels, or whole for the whole image (default: 512, or 256 and 64 "
        "planes in 3-D, where the image has most structure)")  # fmt: skip
    add("--truth", nargs="+", type=image_path, default=[], metavar="LABELS",
        help="label map of the true objects of each image (0 is background): rank the models by them")  # fmt: skip
    add = parser.add_argument_group("outputs").add_argument
    add("-o", "--output", type=user_path, default=Path(), metavar="DIR",
        help=f"folder for {PAGE} and {TABLE} (default: the current folder)")  # fmt: skip
    return parser


def _memory() -> argparse.ArgumentParser:
    parser = option_parser()
    parser.add_argument_group("computing").add_argument(
        "--memory",
        metavar="SIZE",
        help="memory limit for the run, e.g. 4GiB (default: the memory available to this job)",
    )
    return parser


def _crop(text: str) -> int | str:
    if text == "whole":
        return text
    if not text.isdecimal() or int(text) < _SMALLEST_CROP:
        raise argparse.ArgumentTypeError(f"{text!r} is not whole or a number of pixels from {_SMALLEST_CROP}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Compare models, write the page and the table, and print the recommendation.

    ``--json`` prints ``recommended`` (a name of a model, or null), ``close`` (the models too close to call), the
    sentences ``verdict``, ``reasons`` and ``cautions``, ``certainty`` (the part of resamplings in which the first model
    is better than the second), ``kendall_tau`` (null without ``--truth``), ``perturbations``, ``crops`` and ``models``.
    ``models`` has the columns of the table, the best model first. ``problem`` is why a model is not ranked.

    The exit code is 0 if a model ran, else the exit code of the first failure.
    """
    from ..batch.output_files import output_folder
    from ..comparison.comparing import compare_models
    from ..comparison.comparison_page import comparison_page
    from ..comparison.comparison_table import comparison_csv, comparison_json
    from ..files.overwriting import check_writable
    from ..files.partial_file import write_whole
    from ..image.readers.reading import files_beside, prepare_network
    from ..machine.sandbox import restricted

    names, task = _model_names(arguments), _task(arguments)
    files = [path for path in (*task.images, *task.truth) if isinstance(path, Path)]
    addresses = [path for path in (*task.images, *task.truth) if not isinstance(path, Path)]
    for address in addresses:
        check_online(address, offline=arguments.offline)
    with (
        progress_display() as display,
        ExitStack() as opened,
        output_folder(arguments.output, keep_empty=False) as folder,
    ):
        display.wait("reading the models")
        candidates = list(_candidates(names, arguments.offline, opened))
        packages = [one.model.opened.package for one in candidates if one.model is not None]
        page, table = folder / PAGE, folder / TABLE
        read = [*files, *(path for package in packages for path in package.files)]
        check_writable([page, table], read, overwrite=arguments.overwrite)
        prepare_network(addresses)
        places = [*(place for package in packages for place in package.places), *files]
        places += [path for one in files for path in files_beside(one)]
        gpu = task.options.may_use_gpu
        with restricted(places, [folder], not arguments.no_sandbox, network=bool(addresses), gpu=gpu):
            found = compare_models(candidates, task, display.wait)
            if all(row.error is not None for row in found.rows):
                raise _none_ran(found)
            write_whole(page, comparison_page(found).encode())
            write_whole(table, comparison_csv(found))
    if arguments.json:
        say_json({**comparison_json(found), "page": str(page), "table": str(table)})
    else:
        say(*_lines(found), f"  page    {page}", f"  table   {table}")
    return 0


def _model_names(arguments: argparse.Namespace) -> list[str]:
    """Return the models of ``--models``, and the models in the cache that ``--search`` finds.

    Raises :class:`UsageError` if there is none.
    """
    names = list(arguments.models)
    if arguments.search is not None:
        from ..zoo.index import load_index
        from ..zoo.model_cache import is_cached

        words = arguments.search.lower().split()
        matching = [entry.id for _, entry in sorted(load_index().current().items()) if has_words(entry, words)]
        cached = [name for name in matching if is_cached(name) and name not in names]
        if not cached and not names:
            known = f"The zoo has {counted(len(matching), 'such model')}, such as {matching[0]}. " if matching else ""
            raise UsageError(
                f"No model in the cache has all the words {arguments.search!r} in its id, name, tags or authors. "
                f"{known}Download a model with `bioimage-inference download ID`, or name models with --models."
            )
        names += cached
    if not names:
        raise UsageError("There are no models to compare. Name them with --models A B, or give --search WORDS.")
    return names


def _candidates(names: Sequence[str], offline: bool, opened: ExitStack) -> Iterator["Candidate"]:
    """Yield the models, each opened until ``opened`` closes it, or with the error of opening it."""
    from ..api import open_model
    from ..comparison.comparing import Candidate

    for name in names:
        try:
            model = opened.enter_context(open_model(name, offline=offline))
            model.check_weights()
        except BioimageInferenceError as error:
            yield Candidate(name, None, error)
        else:
            yield Candidate(name, model)


def _task(arguments: argparse.Namespace) -> "Task":
    from ..comparison.comparing import Task
    from ..comparison.model_objects import ObjectRules

    typed = frozenset(name for name in OBJECT_FIELDS if getattr(arguments, name) not in (None, False))
    rules = ObjectRules(object_options(arguments), typed)
    return Task(arguments.images, arguments.truth, _prediction_options(arguments), rules, arguments.crop)


def _prediction_options(arguments: argparse.Namespace) -> "Options":
    from ..options import Options

    typed = {field.name: getattr(arguments, field.name, None) for field in fields(Options)}
    return Options(**{name: value for name, value in typed.items() if value is not None})


def _none_ran(found: "Comparison") -> BioimageInferenceError:
    """Return the error of the first model, with the errors of all models in its text."""
    errors = [(row.source, row.error) for row in found.rows if row.error is not None]
    if len(errors) == 1:
        return errors[0][1]
    listed = " ".join(f"{name}: {error}" for name, error in errors)
    return type(errors[0][1])(f"None of the {len(errors)} models ran. {listed}")


def _lines(found: "Comparison") -> Iterator[str]:
    """Yield the crops, the models from the best on, and the recommendation."""
    from ..comparison.recommendation import recommendation, score_in_words

    for crop in found.crops:
        yield f"[{crop.image.name}] compared on {crop.in_words}"
        yield from (f"  note    {note}" for note in crop.notes)
    for row in found.sorted_rows:
        if row.error is not None:
            yield f"  {row.name}: did not run. {row.error}"
        elif row.unjudged is not None:
            yield f"  {row.name}: {row.unjudged}, so it is not ranked"
        else:
            by_truth = (
                f"average precision {score_in_words(found.truth_ranking.scores[row.name])}, "
                if (found.truth_ranking)
                else ""
            )
            seconds = f", {row.cost.crop_seconds:.2g} s" if row.cost else ""
            consistency = score_in_words(found.ranking.scores[row.name])
            yield f"  {row.name}: {by_truth}consistency {consistency}, {counted(row.objects, 'object')}{seconds}"
    advice = recommendation(found)
    yield f"  result  {advice.verdict}"
    yield from (f"  reason  {reason}" for reason in advice.reasons)
    yield from (f"  beware  {caution}" for caution in advice.cautions)
