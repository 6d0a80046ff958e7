"""Reads YAML from strangers as plain data: YAML 1.2 numbers, no tags, no repeated keys, bounded size and depth."""

import re
from typing import Any

import yaml

from ..errors import ModelError

# Limits well above every description of the zoo, the longest of which has 17 KB.
MAX_BYTES = 10 * 2**20
MAX_NODES = 50_000
MAX_ALIASES = 1000
MAX_DEPTH = 100
MAX_DIGITS = 100

_BaseLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {None, "!", f"{_TAG}str", f"{_TAG}seq", f"{_TAG}map"}


class _Loader(_BaseLoader):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2: ``1e-05`` is a number, ``no`` and dates are text."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}  # noqa: RUF012


for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(f"^(?:{_pattern})$"), _first)


def _construct_int(_loader: Any, node: yaml.ScalarNode) -> int:
    text = node.value
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


_Loader.add_constructor(f"{_TAG}int", _construct_int)


def load_yaml(content: bytes, what: str) -> Any:
    """Return the plain data (dict, list, str, int, float, bool, None) in a YAML text; ``what`` names it in errors.

    Raises :class:`ModelError` where it is no YAML or more than a description needs: 10 MiB, 50 000 nodes with aliases
    written out, 1000 aliases, 100 levels, tags, repeated keys.
    """
    if len(content) > MAX_BYTES:
        raise ModelError(f"{what} takes {len(content) / 2**20:.0f} MiB; a model description has at most 10 MiB.")
    try:
        _check_events(content, what)
        loader = _Loader(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_keys(node, what)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error.problem):  # libyaml stops at 1000 levels, before it hands out the first event
            raise _beyond(what) from error
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = f"{place}{error.problem}"
        raise ModelError(f"{what} is not valid YAML ({reason}). Correct it or download it again.") from error
    except (yaml.YAMLError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"{what} is not valid YAML ({reason}). Correct it or download it again.") from error


def _check_events(content: bytes, what: str) -> None:
    """Refuse a text that would grow beyond the limits before anything is built; aliases count as written out."""
    total = aliases = 0
    known: dict[str, tuple[int, int]] = {}  # nodes and levels of each anchor
    starts: list[tuple[str | None, int]] = []  # anchor of each open collection, and total before it
    levels = [0]  # levels so far inside of the document and of each open collection
    for event in yaml.parse(content, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag not in _PLAIN_TAGS:
            raise ModelError(f"{what} holds the tag {event.tag!r}; a model description is YAML without tags.")
        if isinstance(event, yaml.CollectionStartEvent):
            starts.append((event.anchor, total))
            levels.append(0)
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = starts.pop()
            height = levels.pop() + 1
            levels[-1] = max(levels[-1], height)
            if anchor is not None:
                known[anchor] = total - start, height
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            levels[-1] = max(levels[-1], 1)
            if event.anchor is not None:
                known[event.anchor] = 1, 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            nodes, height = known.get(str(event.anchor), (MAX_NODES, 0))  # an anchor inside of itself never ends
            total += nodes
            levels[-1] = max(levels[-1], height)
        if total > MAX_NODES or aliases > MAX_ALIASES or len(starts) + levels[-1] > MAX_DEPTH:
            raise _beyond(what)


def _beyond(what: str) -> ModelError:
    return ModelError(
        f"{what} is nested, or repeats itself, far beyond what a model description needs; it is not opened."
    )


def _check_keys(node: yaml.Node, what: str) -> None:
    """Refuse a mapping with a repeated key. The recursion ends, because the events are within the limits."""
    keys = set()
    for entry in node.value if isinstance(node, yaml.CollectionNode) else ():
        if isinstance(entry, yaml.Node):
            _check_keys(entry, what)
            continue
        key, value = entry
        _check_keys(key, what)
        _check_keys(value, what)
        if isinstance(key, yaml.ScalarNode):
            if (key.tag, key.value) in keys:
                raise ModelError(
                    f"{what} has the key {key.value!r} twice in one place (line {key.start_mark.line + 1}). Remove the "
                    "wrong one of the two."
                )
            keys.add((key.tag, key.value))
