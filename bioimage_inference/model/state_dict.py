"""Finds a network's state dict in a file of saved tensors: at the top level, under keys, with a prefix, or both.

This module imports torch, so it is imported only when a state dict is loaded.
"""

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.parameter import is_lazy

from ..errors import ModelError

# Keys under which training programs save state dicts, and attributes of the modules that train a network.
_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network")
_ATTRIBUTES = ("module", *_KEYS)
# Modules that torch.compile, FullyShardedDataParallel and activation checkpoints put around any part of a network.
_AROUND_PARTS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_DEPTH = 3  # levels of mappings that are searched
_NAMED = 5  # names that a message lists of each kind


@dataclass(frozen=True)
class StateDict:
    """Tensors of a file by the names of the network's parameters.

    ``keys`` lead to the tensors in the file, ``prefix`` was removed from their names, and ``others`` are tensors in
    the same mapping without that prefix. ``misfit`` tells how names and shapes differ from the network's, and is
    ``None`` where all fit. ``notes`` tell the user what else is in the file.
    """

    keys: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Any]
    others: Sequence[str] = ()
    misfit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Return where the tensors are in the file, for a message."""
        parts = [f"under the key {' → '.join(map(repr, self.keys))}"] if self.keys else []
        parts += [f"with the prefix {self.prefix!r}"] if self.prefix else []
        return " ".join(parts) or "at its top level"

    @property
    def is_usual(self) -> bool:
        """Return whether keys and prefix are those that training programs use for the network itself."""
        attributes = [part for part in self.prefix.split(".") if part]
        return all(key in _KEYS for key in self.keys) and all(part in _ATTRIBUTES for part in attributes)


def find_state_dict(content: Mapping[str, Any], network: Mapping[str, Any], file: str) -> StateDict:
    """Return the part of a weights file that is the state dict of a network.

    A part fits when it has every name of ``network``, the network's own state dict, in the right shape, and no other
    name. Where no part fits, the one with most of the names is returned with its ``misfit``, for networks that load
    their weights in a way of their own. A file without any of the names is returned whole. Raises
    :class:`ModelError` where different tensors fit equally well. ``file`` is the name of the file for messages.
    """
    found = list(_candidates(content, network))
    fitting = [one for one in found if _misfit(one.tensors, network) is None]
    if not fitting:
        return _closest(content, found, network, file)
    whole = [one for one in fitting if not one.keys and not one.prefix]
    best, *rivals = whole or [one for one in fitting if one.is_usual] or fitting
    for other in rivals:
        if not _equal(best.tensors, other.tensors):
            raise ModelError(
                f"{file} holds several networks that fit the description: {best.place}, and {other.place}. Save "
                "the state dict that is meant as a file of its own, and use that."
            )
    return replace(best, notes=tuple(_notes(best, fitting, file)))


def _notes(best: StateDict, fitting: Sequence[StateDict], file: str) -> Iterator[str]:
    if not best.is_usual:
        yield f"The weights of the network are those {best.place} of {file}."
    if best.others:
        yield f"{file} also holds tensors that are not part of the network and were not used: {_listed(best.others)}."
    unused = [one for one in fitting if one is not best and not _equal(one.tensors, best.tensors)]
    if unused:
        places = ", and ".join(one.place for one in unused[:_NAMED])
        yield f"{file} also holds other weights that fit the network, {places}; those {best.place} were used."


def _closest(
    content: Mapping[str, Any], found: Sequence[StateDict], network: Mapping[str, Any], file: str
) -> StateDict:
    """Return the part with most names of the network, else the whole file, with what does not fit."""
    if found:
        best = max(found, key=lambda one: (len(one.tensors.keys() & network.keys()), one.is_usual))
        misfit = f"the closest state dict in it is {best.place}. Tensors {_misfit(best.tensors, network)}"
        return replace(best, misfit=misfit)
    if not network:
        return StateDict((), "", content)
    inside = [f"{StateDict(keys, '', {}).place}: {_listed(list(map(str, one)))}" for keys, one in _mappings(content)]
    misfit = f"none of its tensors has a name such as {next(iter(network))}. {file} has {'; '.join(inside[:_NAMED])}"
    return StateDict((), "", content, misfit=misfit)


def _candidates(content: Mapping[str, Any], network: Mapping[str, Any]) -> Iterator[StateDict]:
    """Yield every mapping of the file with every prefix that leaves names of the network, the most frequent first."""
    own_names = {_plain(name): name for name in network}
    longest = max((name.count(".") + 1 for name in own_names), default=0)
    for keys, mapping in _mappings(content):
        plain_names = {name: _plain(name) for name in mapping if isinstance(name, str)}
        prefixes: Counter[str] = Counter()
        for plain in plain_names.values():
            parts = plain.split(".")
            for count in range(1, min(longest, len(parts)) + 1):
                if ".".join(parts[-count:]) in own_names:
                    prefixes["".join(f"{part}." for part in parts[:-count])] += 1
        for prefix, _ in prefixes.most_common():
            yield _part(keys, prefix, mapping, plain_names, own_names)


def _part(
    keys: tuple[str, ...],
    prefix: str,
    mapping: Mapping[str, Any],
    plain_names: Mapping[str, str],
    own_names: Mapping[str, str],
) -> StateDict:
    """Return the entries of ``mapping`` with a prefix, by the network's names (``own_names``, by the plain ones).

    Entries that are no tensors and unknown to the network, for instance the number of an epoch, are left out.
    """
    tensors: OrderedDict[str, Any] = OrderedDict()
    others = []
    for name, plain in plain_names.items():
        own = plain.removeprefix(prefix)
        is_tensor = isinstance(mapping[name], torch.Tensor)
        if plain.startswith(prefix) and (own in own_names or is_tensor):
            tensors[own_names.get(own, own)] = mapping[name]
        elif is_tensor:
            others.append(name)
    versions = getattr(mapping, "_metadata", None)
    if isinstance(versions, Mapping):  # of modules: by these, torch 2.13 knows how older modules named their tensors
        modules = {_plain(f"{name}.") if name else "": version for name, version in versions.items()}
        vars(tensors)["_metadata"] = OrderedDict(
            (name.removeprefix(prefix).removesuffix("."), version)
            for name, version in modules.items()
            if name.startswith(prefix)
        )
    return StateDict(keys, prefix, tensors, others)


def _mappings(content: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Yield the file's mapping and the mappings inside it with their keys, each once, usual keys first."""
    seen: set[int] = set()
    level: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [((), content)]
    for _ in range(_DEPTH):
        deeper = []
        for keys, mapping in level:
            if id(mapping) in seen:
                continue
            seen.add(id(mapping))
            yield keys, mapping
            inside = [(key, value) for key, value in mapping.items() if isinstance(value, Mapping)]
            inside.sort(key=lambda item: _KEYS.index(item[0]) if item[0] in _KEYS else len(_KEYS))
            deeper += [((*keys, str(key)), value) for key, value in inside]
        level = deeper


def _plain(name: str) -> str:
    """Return the name that a tensor has without the modules that torch puts around parts of a network."""
    return _AROUND_PARTS.sub("", name)


def _misfit(tensors: Mapping[str, Any], network: Mapping[str, Any]) -> str | None:
    """Return how a state dict differs from the network's in names and shapes, ``None`` where it fits."""
    # torch < 0.4.1 counted no batches; torch sets these counts itself
    missing = [name for name in network if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in network]
    sizes = {name: (_size(tensors[name]), _size(own)) for name, own in network.items() if name in tensors}
    reshaped = [
        f"{name} ({size} instead of {own})" for name, (size, own) in sizes.items() if size and own and size != own
    ]
    kinds = {"missing": missing, "unknown to the network": unknown, "of another size": reshaped}
    return "; ".join(f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names) or None


def _size(tensor: Any) -> str | None:
    """Return the shape of a tensor in words; ``None`` for parameters that wait for their first input.

    A single number has the same size with and without an axis: torch < 0.4 had no tensors without axes.
    """
    if not isinstance(tensor, torch.Tensor) or is_lazy(tensor):
        return None
    return "×".join(map(str, tensor.shape)) or "1"


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two state dicts have the same values."""

    def same(left: Any, right: Any) -> bool:
        tensors = isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor)
        return torch.equal(left, right) if tensors else left is right

    return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
