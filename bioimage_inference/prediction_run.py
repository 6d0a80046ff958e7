"""Runs the pipeline on one image, commits its outputs, and describes them for the record."""

import errno
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files.scratch import scratch_folder
from .inference.augmentation import copies_of, plan_with_uncertainty, with_uncertainty
from .inference.outputs import OpenedOutput, Outputs, Target
from .inference.pipeline import Job, Progress, Record, run
from .inference.planning import sources_of
from .options import Options
from .prediction import Output
from .provenance.hashing import InputHashes
from .provenance.record_builder import (
    ComputedRun,
    computed_output,
    network_record,
    run_plan,
    sandbox_record,
    step_records,
)
from .provenance.record_parts import ComputedOutput
from .provenance.tiff_tags import tiff_facts

if TYPE_CHECKING:
    from .inference.calibration import Calibration


def compute(
    calibration: "Calibration",
    options: Options,
    targets: Mapping[str, Target] | None,
    hashes: InputHashes,
    progress: Progress,
) -> tuple[ComputedRun, Record, list[OpenedOutput], list[str]]:
    """Run the pipeline and commit the outputs; an error removes incomplete outputs.

    Return the record so far, the findings of the run, the outputs, and the remarks of their writers.
    """
    prepared, loaded = calibration.prepared, calibration.loaded
    with ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        written = replace(prepared, plan=plan_with_uncertainty(prepared.plan, options))
        outputs = Outputs(written, targets, options, stack, scratch)
        job = Job(
            model=loaded.spec,
            network=loaded.network,
            plan=prepared.plan,
            sources=sources_of(loaded.spec, prepared),
            samples=prepared.leading.samples,
            make_writer=outputs.open,
            scratch=scratch,
            progress=progress,
            compare_tiles=bool(prepared.over_tile) and len(prepared.plan) > 1,
            copies=copies_of(loaded.spec, options),
            uncertainty=options.uncertainty,
        )
        found = run(job)
        with found.timed("hashing"):
            hashed = hashes.results()
        steps = step_records(loaded.spec, tuple(prepared.matched), found.statistics, found.measured)
        planned, network = run_plan(loaded.spec, prepared, options), network_record(loaded, options.precision)
        computed = ComputedRun(planned, network, steps, hashed, sandbox_record())
        notes = outputs.commit(tiff_facts(computed))
    all_outputs = with_uncertainty(loaded.spec, options).outputs
    return computed, found, [outputs.opened[output.id] for output in all_outputs], notes


def described(output: OpenedOutput) -> ComputedOutput:
    """Return an output for the record, without its files."""
    return computed_output(output.spec, output.stack, output.dtype, output.pixel_size)


def result(output: OpenedOutput) -> Output:
    """Return a complete output."""
    axis, stack, target = output.spec.axis("c"), output.stack, output.target
    array: NDArray[Any] | None = None
    if output.memory is not None:
        array = output.memory.array
    elif target.npy is not None:
        array = _mapped(target.npy)
    return Output(
        id=output.spec.id,
        axes=stack.tensor_axes,
        dtype=output.dtype,
        shape=stack.shape(stack.tensor_axes),
        array=array,
        channel_names=axis.channel_names if axis is not None else (),
        picture_axes=stack.picture_axes,
        picture_shape=stack.shape(stack.picture_axes),
        pixel_size=output.pixel_size,
        tiff=target.tiff,
        npy=target.npy,
        zarr=target.zarr,
    )


def _mapped(path: Path) -> NDArray[Any] | None:
    """Return a file's array, mapped; ``None`` if a limit of the address space leaves no room for it."""
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r")
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        return None
    return array
