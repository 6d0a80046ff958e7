"""All that ``inspect`` knows of a model, as plain data: printed as JSON, in lines, or on the HTML card."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import isfinite
from typing import Any

from ..model.spec import Axis, Citation, FixedSize, ModelSpec, ReferencedSize, StepSize, TensorSpec, WeightsEntry
from ..model.trust import TrustPolicy
from ..text import one_line
from ..zoo.resolving import OpenedModel
from .tensor_words import image_axes, input_in_words, operations_in_words, output_in_words
from .traps import known_traps
from .weights_facts import WeightsFacts, processing_problem, weights_facts

Facts = Mapping[str, Any]

WEIGHTS_NAMES = {"torchscript": "TorchScript", "pytorch_state_dict": "PyTorch state dict"}


def model_facts(opened: OpenedModel, policy: TrustPolicy) -> dict[str, Any]:
    """The facts of a model; every text is plain: one line, without control characters.

    =====================  ===========================================================================================
    name, id, version      of the model; ``id`` and ``version`` may be null
    format_version, sha256 of the description's format; SHA-256 of the file that was given (of the YAML, for a folder)
    description, licence   texts; ``licence`` may be null
    authors, tags          lists of texts
    citations              list of ``{text, url}``; ``url`` (http or https) may be null
    documentation          file in the package, or address; may be null
    inputs, outputs        lists of ``{id, description, in_words, axes, dtype, data_range, channels, channel_names,
                           sizes, pixel_size, steps}``; inputs also have ``optional`` and ``give_as`` (``IMAGE`` or
                           ``--input ID=FILE``), outputs ``halo``. ``axes`` has a letter per axis, ``sizes`` and
                           ``halo`` an entry per axis of time and space: ``{exactly}``, ``{minimum, step}``,
                           ``{tensor, axis, scale, offset}`` or ``{}`` for any size
    weights                list, in the order in which they are tried, of ``{format, file, sha256, pytorch_version,
                           architecture, usable, used, reason, trust, missing_packages}``; ``trust`` is
                           ``{allowed, trusted, reason, in_words}``
    other_weights          formats that PyTorch cannot load
    runs_here, verdict     whether ``predict`` would run here, and why (not)
    missing_packages       list of ``{package, advice}``
    traps, notes           lists of texts: what to beware of; what was unusual in reading the description
    =====================  ===========================================================================================
    """
    spec = opened.spec
    entries = weights_facts(opened, policy)
    processing = processing_problem(spec)
    usable = (one for one in entries if one.problem is None)
    used = next(usable, None) if processing is None else None
    runs_here, verdict = _verdict(spec, entries, used, processing)
    return {
        "name": one_line(spec.name),
        "id": one_line(spec.id),
        "version": one_line(spec.version),
        "format_version": one_line(spec.format_version),
        "sha256": spec.sha256,
        "description": one_line(spec.description),
        "licence": one_line(spec.licence),
        "authors": [one_line(author) for author in spec.authors if author.strip()],
        "tags": [one_line(tag) for tag in spec.tags],
        "citations": [_citation(one) for one in spec.citations],
        "documentation": one_line(spec.documentation),
        "inputs": [_input(tensor, number == 0) for number, tensor in enumerate(spec.inputs)],
        "outputs": [_output(tensor) for tensor in spec.outputs],
        "weights": [_weights(one, one is used) for one in entries],
        "other_weights": [one_line(name) for name in spec.other_weights],
        "runs_here": runs_here,
        "verdict": verdict,
        "missing_packages": [
            {"package": one_line(package), "advice": one_line(advice)}
            for package, advice in {key: text for one in entries for key, text in one.missing.items()}.items()
        ],
        "traps": [one_line(trap) for trap in known_traps(spec, used.operations if used is not None else ())],
        "notes": [one_line(note) for note in spec.notes],
    }


def _verdict(
    spec: ModelSpec, entries: Sequence[WeightsFacts], used: WeightsFacts | None, processing: str | None
) -> tuple[bool, str]:
    if processing is not None:
        return False, one_line(processing)
    if used is not None and not spec.inputs:
        return False, "Its weights can be loaded, but nothing is known of the image that they take."
    if used is not None:
        name = WEIGHTS_NAMES[used.entry.format]
        return True, one_line(f"It runs here with its {name} weights ({used.trust.reason}).")
    if entries:
        return False, " ".join(dict.fromkeys(one_line(one.problem) for one in entries))
    offered = f"only {', '.join(spec.other_weights)} weights" if spec.other_weights else "no weights"
    return False, one_line(f"It has {offered}; this program runs PyTorch weights (torchscript or pytorch_state_dict).")


def _weights(one: WeightsFacts, used: bool) -> dict[str, Any]:
    reason = one.problem or ("These are used." if used else "Not needed: the weights above come first.")
    return {
        "format": one.entry.format,
        "file": one_line(one.entry.source),
        "sha256": one_line(one.entry.sha256),
        "pytorch_version": one_line(one.entry.pytorch_version),
        "architecture": _architecture(one.entry),
        "usable": one.problem is None,
        "used": used,
        "reason": one_line(reason),
        "trust": {
            "allowed": one.trust.allowed,
            "trusted": one.trust.trusted,
            "reason": one_line(one.trust.reason),
            "in_words": one_line(one.trust.in_words),
        },
        "missing_packages": [one_line(package) for package in one.missing],
    }


def _architecture(entry: WeightsEntry) -> dict[str, Any] | None:
    if entry.architecture is None:
        return None
    names = ("callable", "source", "import_from", "sha256")
    return {name: one_line(getattr(entry.architecture, name)) for name in names}


def _input(tensor: TensorSpec, first: bool) -> dict[str, Any]:
    give_as = "IMAGE" if first else f"--input {tensor.id}=FILE"
    return {
        **_tensor(tensor, input_in_words(tensor)),
        "optional": tensor.optional,
        "give_as": one_line(give_as),
    }


def _output(tensor: TensorSpec) -> dict[str, Any]:
    halo = {axis.letter: axis.halo for axis in image_axes(tensor)}
    return {**_tensor(tensor, output_in_words(tensor)), "halo": halo}


def _tensor(tensor: TensorSpec, in_words: str) -> dict[str, Any]:
    axes, channel = image_axes(tensor), tensor.axis("c")
    return {
        "id": one_line(tensor.id),
        "description": one_line(tensor.description),
        "in_words": one_line(in_words),
        "axes": tensor.letters,
        "dtype": one_line(tensor.dtype),
        "data_range": [_finite(limit) for limit in tensor.data_range],
        "channels": channel.size.size if channel is not None and isinstance(channel.size, FixedSize) else None,
        "channel_names": [one_line(name) for name in channel.channel_names] if channel is not None else [],
        "sizes": {axis.letter: _size(axis) for axis in axes},
        "pixel_size": {
            axis.letter: {"value": _finite(axis.scale), "unit": one_line(axis.unit)} for axis in axes if axis.unit
        },
        "steps": [one_line(words) for words in operations_in_words(tensor)],
    }


def _size(axis: Axis) -> dict[str, Any]:
    match axis.size:
        case FixedSize(size):
            return {"exactly": size}
        case StepSize(minimum, step):
            return {"minimum": minimum, "step": step}
        case ReferencedSize(tensor, of, scale, offset):
            return {"tensor": tensor, "axis": of, "scale": _number(scale), "offset": offset}
        case _:
            return {}


def _finite(number: float | None) -> float | None:
    """JSON knows neither infinity nor NaN."""
    return number if number is not None and isfinite(number) else None


def _number(scale: Fraction) -> int | float:
    return scale.numerator if scale.denominator == 1 else float(scale)


def _citation(citation: Citation) -> dict[str, Any]:
    doi = re.search(r"10\.\d{4,9}/\S+", citation.doi or "")
    url = f"https://doi.org/{doi[0]}" if doi else (citation.url or "")
    return {
        "text": one_line(citation.text),
        "url": one_line(url) if re.match(r"https?://[^\s<>\"']+$", url) else None,
    }
