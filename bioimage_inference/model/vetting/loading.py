"""Loads TorchScript that was checked, from a fresh archive in memory.

PyTorch's own reader gives the members of the file, because another reader can see other members in the same file (two
directories, names that differ in case). The parts of ``torch._C`` that this module uses were tested with torch 2.13.
"""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .declarations import declared_classes, vet_casts, vet_objects
from .operations import allowed_operations
from .pickles import vet_pickle
from .source import NotVetted, vetted_sources

if TYPE_CHECKING:
    import torch

_CODE = re.compile(r"code/[\w/]+\.py")
_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
_FACTS = ("version", ".data/version", "byteorder")  # the second where an operator is newer than the file format
_MOST_CODE = 16 << 20  # bytes; the largest networks of the zoo have less than 1 MiB


def load_vetted(path: Path) -> "torch.nn.Module":
    """The network in a TorchScript file, on the CPU, after every check.

    Raises :class:`NotVetted` where the file may do anything but compute, and what PyTorch raises for a damaged file.
    """
    import torch

    from .argument_checks import add_checks

    load: Any = torch._C.import_ir_module_from_buffer  # its types are wrong in torch
    unit: Any = torch._C.CompilationUnit()
    module = load(unit, _fresh_archive(path), torch.device("cpu"), {}, False)
    _vet_graphs(unit)
    for function in unit.get_functions():
        add_checks(function.graph)
    network: torch.nn.Module = torch.jit._recursive.wrap_cpp_module(module)
    return network


def _fresh_archive(path: Path) -> bytes:
    """The members that a network needs, checked, as a zip archive."""
    import torch

    reader: Any = torch._C.PyTorchFileReader(str(path))
    names: list[str] = reader.get_all_records()
    if len({name.casefold() for name in names}) < len(names):
        raise NotVetted("it has members whose names differ in case only")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        sizes: dict[str, int] = {}
        for name in names:  # one at a time, because the data of tensors may be large
            if name in _FACTS or name.startswith(tuple(_PICKLES.values())):
                content = reader.get_record(name)
                sizes[name] = len(content)
                archive.writestr(_member(name), content)
        objects: dict[str, Any] = {}
        for name, folder in _PICKLES.items():
            if name in names:
                content = reader.get_record(name)
                objects[name] = vet_pickle(
                    name, content, {key.removeprefix(folder): size for key, size in sizes.items()}
                )
                archive.writestr(_member(name), content)
        sources = {name: reader.get_record(name) for name in names if _CODE.fullmatch(name)}
        if sum(map(len, sources.values())) > _MOST_CODE:
            raise NotVetted(f"its code takes more than {_MOST_CODE >> 20} MiB")
        vetted = vetted_sources(sources, allowed_operations(), _is_operator)
        for name, code in vetted.items():
            archive.writestr(_member(name), code)
        classes = declared_classes(vetted)
        for value in objects.values():
            vet_objects(value, classes)
    return stream.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    """The name of a member in the fresh archive, without the time of day."""
    return zipfile.ZipInfo(f"network/{name}")


def _is_operator(name: str) -> bool:
    """Whether PyTorch knows an operator of that name, which would be a method of tensors, lists or texts."""
    import torch

    schemas: Any = torch._C._jit_get_schemas_for_operator
    return bool(schemas(f"aten::{name}") or schemas(f"prim::{name}"))


def _vet_graphs(unit: Any) -> None:
    """Check what the compiler made of the code. Raises :class:`NotVetted`."""
    allowed = allowed_operations()
    for function in unit.get_functions():
        vet_casts(function.graph)
        for kind in kinds(function.graph):
            if kind not in allowed:
                raise NotVetted(f"it uses {kind} (in {function.qualified_name})")


def kinds(graph: Any) -> Iterator[str]:
    """The kind of every node of a graph, such as ``aten::add``, those of inner blocks included."""
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from kinds(block)
