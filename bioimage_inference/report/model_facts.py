"""The facts that ``inspect`` shows of a model, as plain data: for JSON, for lines on the terminal and for the card."""

import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from ..model.spec import WEIGHTS_TITLES, Axis, Citation, FixedSize, ModelSpec, ReferencedSize, StepSize, TensorSpec
from ..model.trust import TrustPolicy
from ..model.weights import no_weights_in_words
from ..text import one_line
from ..zoo.resolving import OpenedModel
from ..zoo.twins import twin_in_words
from .describe_model import (
    image_axes,
    image_in_words,
    input_in_words,
    operations_in_words,
    output_in_words,
)
from .traps import known_traps
from .weights_facts import WeightsFacts, processing_problem, weights_facts

Facts = Mapping[str, Any]


def model_facts(opened: OpenedModel, policy: TrustPolicy) -> dict[str, Any]:
    """Return the facts of a model; every text is plain: one line, without control characters.

    =====================  ===========================================================================================
    name, id, version      of the model; ``id`` and ``version`` may be null
    format_version, sha256 of the description's format; SHA-256 of the file that was given (of the YAML, for a folder)
    description, licence   texts; ``licence`` may be null
    authors, tags          lists of texts
    takes                  the image that the first input takes, in few words; empty if nothing is known of it
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
    other_weights          formats that do not run here
    runs_here, verdict     whether ``predict`` would run here, and why (not)
    missing_packages       list of ``{package, advice}``
    traps, notes           lists of texts: traps of this model; remarks on its description
    =====================  ===========================================================================================
    """
    spec = opened.spec
    entries = weights_facts(opened, policy)
    problem = processing_problem(spec)
    used = next((one for one in entries if one.problem is None), None) if problem is None else None
    verdict = problem or _verdict(spec, entries, used)
    missing = {package: advice for one in entries for package, advice in one.missing.items()}
    facts: dict[str, Any] = _plain(
        {
            "name": spec.name,
            "id": spec.id,
            "version": spec.version,
            "format_version": spec.format_version,
            "sha256": spec.sha256,
            "description": spec.description,
            "licence": spec.licence,
            "authors": [author for author in spec.authors if author.strip()],
            "tags": spec.tags,
            "takes": image_in_words(spec.inputs[0]) if spec.inputs else "",
            "citations": [_citation(one) for one in spec.citations],
            "documentation": spec.documentation,
            "inputs": [_input(tensor, tensor is spec.inputs[0]) for tensor in spec.inputs],
            "outputs": [_output(tensor) for tensor in spec.outputs],
            "weights": [_weights(one, one is used) for one in entries],
            "other_weights": spec.other_weights,
            "runs_here": used is not None and bool(spec.inputs),
            "verdict": verdict,
            "missing_packages": [{"package": package, "advice": advice} for package, advice in missing.items()],
            "traps": known_traps(spec, used.operations if used is not None else ()),
            "notes": spec.notes,
        }
    )
    return facts


def _plain(value: Any) -> Any:
    """Return data with plain texts, and with ``None`` for numbers that JSON does not know: infinity and NaN."""
    match value:
        case str():
            return one_line(value)
        case float():
            return value if isfinite(value) else None
        case Mapping():
            return {key: _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    return value


def _verdict(spec: ModelSpec, entries: Sequence[WeightsFacts], used: WeightsFacts | None) -> str:
    if used is not None and not spec.inputs:
        return "Its weights can be loaded, but nothing is known of the image that they take."
    if used is not None:
        return f"It runs here with its {WEIGHTS_TITLES[used.entry.format]} weights ({used.trust.reason})."
    if entries:
        return " ".join(dict.fromkeys(one.problem or "" for one in entries))
    return f"It {no_weights_in_words(spec, twin_in_words(spec))}"


def _weights(one: WeightsFacts, used: bool) -> dict[str, Any]:
    architecture, names = one.entry.architecture, ("callable", "source", "import_from", "sha256")
    return {
        "format": one.entry.format,
        "file": one.entry.source,
        "sha256": one.entry.sha256,
        "pytorch_version": one.entry.pytorch_version,
        "architecture": None if architecture is None else {name: getattr(architecture, name) for name in names},
        "usable": one.problem is None,
        "used": used,
        "reason": one.problem or ("These are used." if used else "Not needed: the weights above come first."),
        "trust": {name: getattr(one.trust, name) for name in ("allowed", "trusted", "reason", "in_words")},
        "missing_packages": list(one.missing),
    }


def _input(tensor: TensorSpec, first: bool) -> dict[str, Any]:
    give_as = "IMAGE" if first else f"--input {tensor.id}=FILE"
    return {**_tensor(tensor, input_in_words(tensor)), "optional": tensor.optional, "give_as": give_as}


def _output(tensor: TensorSpec) -> dict[str, Any]:
    halo = {axis.letter: axis.halo for axis in image_axes(tensor)}
    return {**_tensor(tensor, output_in_words(tensor)), "halo": halo}


def _tensor(tensor: TensorSpec, in_words: str) -> dict[str, Any]:
    axes, channel = image_axes(tensor), tensor.axis("c")
    return {
        "id": tensor.id,
        "description": tensor.description,
        "in_words": in_words,
        "axes": tensor.letters,
        "dtype": tensor.dtype,
        "data_range": tensor.data_range,
        "channels": channel.size.size if channel is not None and isinstance(channel.size, FixedSize) else None,
        "channel_names": channel.channel_names if channel is not None else [],
        "sizes": {axis.letter: _size(axis) for axis in axes},
        "pixel_size": {
            axis.letter: {"value": axis.scale, "unit": axis.unit} for axis in axes if axis.unit or axis.scale != 1
        },
        "steps": operations_in_words(tensor),
    }


def _size(axis: Axis) -> dict[str, Any]:
    match axis.size:
        case FixedSize(size):
            return {"exactly": size}
        case StepSize(minimum, step):
            return {"minimum": minimum, "step": step}
        case ReferencedSize(tensor, of, scale, offset):
            number = scale.numerator if scale.denominator == 1 else float(scale)
            return {"tensor": tensor, "axis": of, "scale": number, "offset": offset}
        case _:
            return {}


def _citation(citation: Citation) -> dict[str, str | None]:
    doi = re.search(r"10\.\d{4,9}/\S+", citation.doi or "")
    url = f"https://doi.org/{doi[0]}" if doi else (citation.url or "")
    is_safe = re.match(r"https?://[^\s<>\"']+$", url)
    return {"text": citation.text, "url": url if is_safe else None}
