"""``bioimage-inference validate``: check that a model reproduces its published outputs here."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..files.typed_path import input_path, user_path
from ..options import WeightsName
from ..terminal import progress_display, say, say_json
from ..text import for_file_name, one_line
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
    pass


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    add = own.add_argument
    add("--weights", choices=get_args(WeightsName), help="check only these weights (default: all)")
    add("--halo", action="store_true", help="also measure the receptive field, and whether the halo covers it")
    add("--description", type=input_path, metavar="YAML", help="description (rdf.yaml) of a weights file")
    add = own.add_argument_group("outputs").add_argument
    add("-o", "--output", type=user_path, default=Path(), metavar="DIR",
        help="folder for the report and for pictures of differences (default: the current folder)")  # fmt: skip
    add("--report", action="store_true",
        help="also write a page to attach to the model (HTML): all weights on every device here (or on --device), "
        "receptive field, memory, tiles for large images")  # fmt: skip
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

    ``--json`` prints ``model`` (as in the record of a prediction), ``report`` (the page, or null) and ``weights``,
    a list of

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
    advice              null without ``--report``, and for models that take several images, else how a large image is
                        computed: ``{error, over_tile, bytes_per_pixel, image, tile, tiles, needed, in_slabs,
                        memory}``. ``over_tile`` are layers that look at the tile as a whole
    ==================  =============================================================================================

    Raises :class:`ReproductionError` if outputs differ, else the error of the first entry that cannot run, or
    :class:`ModelError` for an undecided entry.
    """
    from ..api import open_model
    from ..batch.output_files import output_folder
    from ..files.overwriting import check_writable
    from ..files.partial_file import write_whole
    from ..machine.sandbox import restricted
    from ..options import Options
    from ..provenance.record import to_json
    from ..provenance.record_builder import planned_model
    from ..reproduction.findings_as_json import finding_as_json
    from ..reproduction.findings_in_words import facts, weights_names
    from ..reproduction.validation import validate
    from ..reproduction.validation_page import validation_page
    from ..reproduction.verdict import raise_verdict

    names = ("device", "threads", "weights", "trust_model_code")
    options = Options(**{name: getattr(arguments, name) for name in names})
    with progress_display() as display:
        display.wait("reading the model")
        with open_model(arguments.model, description=arguments.description, offline=arguments.offline) as model:
            model.check_weights()  # before the walls, which hide the newest list of models
            display.wait("computing the test image")
            with (
                output_folder(arguments.output, keep_empty=False) as folder,
                restricted(model.opened.package.places, [folder], not arguments.no_sandbox, gpu=options.may_use_gpu),
            ):
                spec, page = model.spec, None
                if arguments.report:
                    page = folder / f"{for_file_name(spec.name)}_validation.html"
                    check_writable([page], model.opened.package.files, overwrite=arguments.overwrite)
                findings = validate(
                    model,
                    options,
                    folder,
                    arguments.halo or arguments.report,
                    advice=arguments.report,
                    every_device=arguments.report and arguments.device == "auto",
                    overwrite=arguments.overwrite,
                )
                if page is not None:
                    write_whole(page, validation_page(spec, findings).encode())
    if arguments.json:
        facts_of_model, weights = to_json(planned_model(spec)), [finding_as_json(finding) for finding in findings]
        say_json({"model": facts_of_model, "weights": weights, "report": None if page is None else str(page)})
    elif page is not None or any(finding.error is None for finding in findings):
        say(str(one_line(spec.name)))
        for finding in findings:
            say(f"  weights   {weights_names([finding])} ({one_line(finding.entry.source)}): {finding.verdict}")
            say(*(f"  {heading:<9} {text}" for heading, text in facts(finding)))
        say(*([] if page is None else [f"  report    {page}"]))
    raise_verdict(one_line(spec.name), findings)
    return 0
