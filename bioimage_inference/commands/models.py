"""``bioimage-inference models``: the models of the zoo that this program knows, and what each needs to run here."""

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from ..errors import ModelError
from ..model.architecture import missing_package
from ..model.operation_packages import check_packages
from ..model.spec import Operation
from ..model.trust import TrustPolicy
from ..report.model_facts import WEIGHTS_NAMES
from ..terminal import line_width, say, say_json
from ..text import one_line
from ..zoo.index import Entry, load_index, trust_policy

_TASK = re.compile(
    r"(.*[ -])?(segmentation|classification|denoising|detection|restoration|reconstruction|splitting|super-resolution|"
    r"unmixing|image-to-image|feature extraction|in-silico-labeling)"
)


def models_command(arguments: argparse.Namespace) -> int:
    """Print the models, all or those that match ``--search``, as lines or (``--json``) as :func:`zoo_facts`."""
    policy = trust_policy()
    words = (arguments.search or "").lower().split()
    entries = [entry for _, entry in sorted(load_index().current().items()) if _matches(entry, words)]
    found = [zoo_facts(entry, policy) for entry in entries]
    if arguments.json:
        say_json(found)
    else:
        say(*_lines(found, line_width(80)))
    return 0


def _matches(entry: Entry, words: Sequence[str]) -> bool:
    texts = (entry.id, entry.name, *_tags(entry), *_authors(entry))
    haystack = " ".join(texts).lower()
    return all(word in haystack for word in words)


def _tags(entry: Entry) -> list[str]:
    return list(dict.fromkeys(one_line(tag) for tag in entry.description.get("tags", ())))


def _authors(entry: Entry) -> list[str]:
    return [one_line(author["name"]) for author in entry.description.get("authors", ())]


def zoo_facts(entry: Entry, policy: TrustPolicy) -> dict[str, Any]:
    """What is known of a model before it is downloaded.

    ==================  =============================================================================================
    id, name, version   ``version`` may be null
    licence             may be null
    authors, tags       lists of texts; ``tasks`` are those tags that name a task
    dois                of the model and its versions, lower case
    inputs, outputs     lists of the axes of each tensor, such as ``bcyx``
    weights             ``torchscript``, ``pytorch_state_dict``, in the order in which they are tried
    ready               whether nothing is known to be missing here
    needs               what the weights need, or what is missing: a list of texts
    ==================  =============================================================================================
    """
    described = entry.description
    ready, needs = _needs(entry, policy)
    version, licence = described.get("version"), described.get("license")
    return {
        "id": entry.id,
        "name": one_line(entry.name),
        "version": None if version is None else one_line(version),
        "licence": one_line(licence),
        "authors": _authors(entry),
        "tasks": [tag for tag in _tags(entry) if _TASK.fullmatch(tag.lower())],
        "tags": _tags(entry),
        "dois": list(entry.dois),
        "inputs": list(entry.inputs),
        "outputs": list(entry.outputs),
        "weights": list(entry.weights),
        "ready": ready,
        "needs": [one_line(need) for need in needs],
    }


def _needs(entry: Entry, policy: TrustPolicy) -> tuple[bool, list[str]]:
    """Whether one of the weights can be used, and what it takes; else what stands in the way of the first."""
    judged = [_weights_need(kind, weights, policy) for kind, weights in entry.weights.items()]
    ready, need = next((one for one in judged if one[0]), judged[0])
    steps = [step for tensor in entry.description["outputs"] for step in tensor.get("postprocessing", ())]
    try:
        check_packages([Operation(str(step.get("id") or step.get("name"))) for step in steps])
    except ModelError as error:
        return False, [need, str(error)]
    return ready, [need]


def _weights_need(kind: str, weights: Mapping[str, Any], policy: TrustPolicy) -> tuple[bool, str]:
    name = WEIGHTS_NAMES[kind]
    if not policy.may_load_weights(weights.get("sha256", "not declared")).allowed:
        return False, f"{name} that the administrator of this installation does not allow"
    architecture = weights.get("architecture")
    if kind == "torchscript":
        return True, f"{name}: needs nothing else"
    if architecture is None:
        return False, f"{name} without a network: cannot run"
    library, code = architecture.get("import_from"), architecture.get("source")
    if library is not None:
        package = library.partition(".")[0]
        if find_spec(package) is None:
            return False, missing_package(f"{name}: the network", ModuleNotFoundError(name=package))
        return True, f"{name}: uses the package {package}, which is installed"
    if policy.may_run_code(architecture.get("sha256", "not declared")).allowed:
        return True, f"{name}: runs its code {code}, which is trusted here"
    if policy.known_only:
        return False, f"{name}: the administrator of this installation does not allow its code {code}"
    return (
        False,
        f"{name}: runs its code {code}, which is not known here; add --trust-model-code if you trust its authors",
    )


def _lines(found: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """A few lines for each model, at most ``width`` characters wide where words allow."""
    for facts in found:
        yield from textwrap.wrap(f"{facts['id']}  {facts['name']}", width, subsequent_indent="    ")
        axes = f"{', '.join(facts['inputs'])} → {', '.join(facts['outputs'])}"
        others = [tag for tag in facts["tags"] if tag not in facts["tasks"]]
        parts = (", ".join(facts["tasks"]), axes, facts["licence"] or "no licence named")
        for text in ("; ".join(filter(None, parts)), ", ".join(others), *facts["needs"]):
            yield from textwrap.wrap(
                text, max(width, 40), initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    if found:
        yield f"{len(found)} model{'s' if len(found) > 1 else ''}. Give an id as MODEL to predict, inspect or validate."
    else:
        yield "No model is known here that has all these words in its id, name, tags or authors."
