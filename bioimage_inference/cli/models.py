"""``bioimage-inference models``: list the models of the zoo that this program knows, and what each needs to run."""

import argparse
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import ModelError, UsageError
from ..terminal import line_width, say, say_json
from ..text import counted, one_line
from .shared_options import DEBUG, JSON, OFFLINE, add_command, option_parser

if TYPE_CHECKING:
    from ..model.trust import TrustPolicy
    from ..zoo.index import Entry

_TASK = re.compile(
    r"(.*[ -])?(segmentation|classification|denoising|detection|restoration|reconstruction|splitting|super-resolution|"
    r"unmixing|image-to-image|feature extraction|in-silico-labeling)"
)


def add_parser(commands: Any) -> None:
    """Add the parser of the command."""
    own = option_parser()
    own.add_argument(
        "words", nargs="*", metavar="WORD", help="list only models with all these words in id, name, tags or authors"
    )
    own.add_argument("--update", action="store_true", help="fetch the list of today from the zoo first")
    own.add_argument("--search", metavar="WORDS", help=argparse.SUPPRESS)  # the name until version 2.5
    add_command(
        commands,
        run,
        "models",
        parents=[own, JSON, OFFLINE, DEBUG],
        help="list the models of the BioImage.IO zoo that this program knows",
        description="List the models of the BioImage.IO zoo that this program knows: the task of each, its axes, its "
        "licence, and what it needs to run here. Give an id as MODEL to predict, inspect or validate.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the models, all or those that have all words: as lines, or with ``--json`` as :func:`_facts`."""
    from ..zoo.index import load_index, trust_policy

    policy = trust_policy()
    if arguments.update:
        _update(arguments.offline)
    words = " ".join([*arguments.words, arguments.search or ""]).lower().split()
    index = load_index()
    entries = [entry for _, entry in sorted(index.current().items()) if has_words(entry, words)]
    models = [_facts(entry, policy) for entry in entries]
    if arguments.json:
        say_json(models)
    else:
        say(*_lines(models, line_width(80)), *textwrap.wrap(index.age_in_words, line_width(80)))
    return 0


def _update(offline: bool) -> None:
    """Fetch the list of today. Standard error says how many models it has. Raises :class:`UsageError`."""
    if offline:
        raise UsageError("--update fetches the list of models, and --offline forbids the internet. Leave one out.")
    from ..zoo.updating import update_list

    path, index = update_list()
    say(f"The list of {index.date} has {counted(len(index.current()), 'model')}: {path}", error=True)


def has_words(entry: "Entry", words: Sequence[str]) -> bool:
    """Return whether a model has all words, in lower case, in its id, name, tags or authors."""
    text = " ".join((entry.id, entry.name, *_tags(entry), *_authors(entry))).lower()
    return all(word in text for word in words)


def _tags(entry: "Entry") -> list[str]:
    return list(dict.fromkeys(one_line(tag) for tag in entry.description.get("tags", ())))


def _authors(entry: "Entry") -> list[str]:
    return [one_line(author["name"]) for author in entry.description.get("authors", ())]


def _facts(entry: "Entry", policy: "TrustPolicy") -> dict[str, Any]:
    """Return the facts of a model that the index knows before any download.

    ==================  =============================================================================================
    id, name, version   ``version`` may be null
    licence             may be null
    authors, tags       lists of texts; ``tasks`` are the tags that name a task
    dois                DOIs of the model and its versions, lower case
    inputs, outputs     lists of the axes of each tensor, such as ``bcyx``
    weights             ``torchscript``, ``pytorch_state_dict``, ``onnx``, in the order in which the program tries them
    ready               false if something is missing here
    needs               list of texts: what the weights need, or what is missing
    ==================  =============================================================================================
    """
    ready, needs = _needs(entry, policy)
    version, tags = entry.description.get("version"), _tags(entry)
    return {
        "id": entry.id,
        "name": one_line(entry.name),
        "version": one_line(version),
        "licence": one_line(entry.description.get("license")),
        "authors": _authors(entry),
        "tasks": [tag for tag in tags if _TASK.fullmatch(tag.lower())],
        "tags": tags,
        "dois": list(entry.dois),
        "inputs": list(entry.inputs),
        "outputs": list(entry.outputs),
        "weights": list(_judged(entry, policy)),
        "ready": ready,
        "needs": [one_line(need) for need in needs],
    }


def _needs(entry: "Entry", policy: "TrustPolicy") -> tuple[bool, list[str]]:
    """Return whether any weights can be used, and their needs; otherwise the problem of the first weights."""
    from ..inference.operations.registry import check_packages
    from ..model.spec import Operation

    judged = list(_judged(entry, policy).values())
    ready, need = next((one for one in judged if one[0]), judged[0])
    steps = [step for tensor in entry.description["outputs"] for step in tensor.get("postprocessing", ())]
    try:
        check_packages([Operation(str(step.get("id") or step.get("name"))) for step in steps])
    except ModelError as error:
        return False, [need, str(error)]
    return ready, [need]


def _judged(entry: "Entry", policy: "TrustPolicy") -> dict[str, tuple[bool, str]]:
    """Return by format whether weights can be used and their needs, in the order in which the program tries them."""
    found = {kind: _weights_need(kind, weights, policy) for kind, weights in entry.weights.items()}
    known = found.get("pytorch_state_dict", (False, ""))[0]
    order = ("torchscript", "onnx")
    kinds = ("pytorch_state_dict", *order) if known else (*order, "pytorch_state_dict")
    return {kind: found[kind] for kind in kinds if kind in found}


def _weights_need(kind: str, weights: Mapping[str, Any], policy: "TrustPolicy") -> tuple[bool, str]:
    from ..model.architecture import missing_package
    from ..model.spec import WEIGHTS_TITLES
    from ..model.vetting.onnx_graph import INSTALL, onnx_installed

    name, architecture = WEIGHTS_TITLES[kind], weights.get("architecture")
    if not policy.may_load_weights(weights.get("sha256", "not declared")).allowed:
        return False, f"{name} that the administrator of this installation does not allow"
    if kind == "torchscript":
        return True, f"{name}: needs nothing else"
    if kind == "onnx":
        return onnx_installed(), f"{name}: needs the extra onnx{'' if onnx_installed() else f': {INSTALL}'}"
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
    advice = "add --trust-model-code if you trust its authors"
    return False, f"{name}: runs its code {code}, which is not known here; {advice}"


def _lines(models: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Yield a few lines for each model, of at most ``width`` letters unless a word is longer."""
    for facts in models:
        yield from textwrap.wrap(f"{facts['id']}  {facts['name']}", width, subsequent_indent="    ")
        axes = f"{', '.join(facts['inputs'])} → {', '.join(facts['outputs'])}"
        others = [tag for tag in facts["tags"] if tag not in facts["tasks"]]
        parts = (", ".join(facts["tasks"]), axes, facts["licence"] or "no licence named")
        for text in ("; ".join(filter(None, parts)), ", ".join(others), *facts["needs"]):
            yield from textwrap.wrap(
                text, max(width, 40), initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
            )
    if models:
        yield f"{counted(len(models), 'model')}. Give an id as MODEL to predict, inspect or validate."
    else:
        yield "No model is known here that has all these words in its id, name, tags or authors."
