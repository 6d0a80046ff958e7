"""Loads vetted TorchScript from a fresh archive in memory.

PyTorch's own reader gives the members of the file, because another reader can find other members in the same file (two
directories, names that differ in case). The used parts of ``torch._C`` were tested with torch 2.13.
"""

import io
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .declarations import declared_classes, vet_casts, vet_objects
from .pickles import vet_pickle
from .source_code import NotVetted, vetted_sources

if TYPE_CHECKING:
    import torch

OPERATIONS = Path(__file__).with_name("allowed_operations.tsv")
"""The list of allowed operators. ``scripts/list_operations.py`` writes it with the source of each operator."""
_CODE = re.compile(r"code/[\w/]+\.py")
_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
_FACTS = ("version", ".data/version", "byteorder")  # the second for operators that are newer than the file format
_OFFSET_OF_METHOD, _STORED = 8, b"\0\0"  # in the local header of a zip archive, and "not compressed"
_copy_in_kernel: Any = getattr(os, "sendfile", None)  # between files on Linux only, see _memory
_MOST_AT_ONCE = 1 << 30  # bytes per call of sendfile, which copies less than 2 GiB
_MOST_CODE = 16 << 20  # bytes; the code of the largest zoo networks has less than 1 MiB


@cache
def allowed_operations() -> frozenset[str]:
    """Return the names of the allowed operators with their namespaces: ``aten::conv2d``, ``prim::If``."""
    lines = OPERATIONS.read_text(encoding="utf-8").splitlines()
    return frozenset(line.split("\t")[0] for line in lines if line and not line.startswith("#"))


def load_vetted(path: Path) -> "torch.nn.Module":
    """Return the network in a TorchScript file, on the CPU, after all checks.

    Raises :class:`NotVetted` for a file that may do more than compute, and errors of PyTorch for a damaged file.
    """
    import torch

    from .argument_checks import add_checks

    unit: Any = torch._C.CompilationUnit()
    with _memory() as fresh:
        _write_fresh_archive(path, fresh)
        module = _imported(unit, fresh)
    _vet_graphs(unit)
    for function in unit.get_functions():
        add_checks(function.graph)
    network: torch.nn.Module = torch.jit._recursive.wrap_cpp_module(module)
    return network


def _memory() -> BinaryIO:
    """Return memory for the fresh archive: an unnamed file, to which the kernel can copy, or else a buffer.

    Only Linux has unnamed files in memory, and a limit of file sizes (``ulimit -f``) also limits them.
    """
    if sys.platform == "linux":
        import resource

        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY:
            return os.fdopen(os.memfd_create("network"), "w+b")
    return io.BytesIO()


def _imported(unit: Any, archive: BinaryIO) -> Any:
    """Return the network in an archive of :func:`_memory`, compiled into ``unit``, on the CPU."""
    import torch

    compiler: Any = torch._C  # its type hints are wrong
    cpu = torch.device("cpu")
    if isinstance(archive, io.BytesIO):
        return compiler.import_ir_module_from_buffer(unit, archive.getvalue(), cpu, {}, False)
    archive.flush()
    return compiler.import_ir_module(unit, f"/dev/fd/{archive.fileno()}", cpu, {}, False)


def _write_fresh_archive(path: Path, file: BinaryIO) -> None:
    """Check the members that a network needs, and write them as a zip archive."""
    import torch

    reader: Any = torch._C.PyTorchFileReader(str(path))
    names: list[str] = reader.get_all_records()
    if len({name.casefold() for name in names}) < len(names):
        raise NotVetted("it has members whose names differ in case only")
    with path.open("rb") as source, zipfile.ZipFile(file, "w") as archive:
        sizes: dict[str, int] = {}
        for name in names:
            if name.startswith(tuple(_PICKLES.values())):
                sizes[name] = reader.get_record_size(name)
                _copy_data(name, sizes[name], reader, source, archive)
            elif name in _FACTS:
                archive.writestr(_member(name), reader.get_record(name))
        objects: dict[str, Any] = {}
        for name, folder in _PICKLES.items():
            if name in names:
                content = reader.get_record(name)
                data = {key.removeprefix(folder): size for key, size in sizes.items()}
                objects[name] = vet_pickle(name, content, data)
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


def _copy_data(name: str, size: int, reader: Any, source: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Copy the data of a tensor, which may have a gigabyte. The kernel copies uncompressed data to an unnamed file.

    The checksum in such a copy is 0, because PyTorch does not check it.
    """
    file, member = archive.fp, _member(name)
    assert file is not None
    source.seek(reader.get_record_header_offset(name) + _OFFSET_OF_METHOD)
    if source.read(2) != _STORED or isinstance(file, io.BytesIO):
        archive.writestr(member, reader.get_record(name))
        return
    member.header_offset, member.CRC, member.file_size, member.compress_size = file.tell(), 0, size, size
    file.write(member.FileHeader())
    file.flush()
    place, end = reader.get_record_offset(name), reader.get_record_offset(name) + size
    while place < end:
        copied = _copy_in_kernel(file.fileno(), source.fileno(), place, min(end - place, _MOST_AT_ONCE))
        if not copied:
            raise NotVetted(f"it ends within {name}")
        place += copied
    file.seek(0, os.SEEK_END)
    archive.filelist.append(member)
    archive.start_dir = file.tell()  # place of the next member, or of the directory


def _member(name: str) -> zipfile.ZipInfo:
    """Return the name of a member in the fresh archive, without a time."""
    return zipfile.ZipInfo(f"network/{name}")


def _is_operator(name: str) -> bool:
    """Return whether PyTorch has an operator of this name, which is then a method of tensors, lists or texts."""
    import torch

    schemas: Any = torch._C._jit_get_schemas_for_operator
    return bool(schemas(f"aten::{name}") or schemas(f"prim::{name}"))


def _vet_graphs(unit: Any) -> None:
    """Raise :class:`NotVetted` for compiled code with an operator or cast that is not allowed."""
    allowed = allowed_operations()
    for function in unit.get_functions():
        vet_casts(function.graph)
        for kind in kinds(function.graph):
            if kind not in allowed:
                raise NotVetted(f"it uses {kind} (in {function.qualified_name})")


def kinds(graph: Any) -> Iterator[str]:
    """Yield the kind of every node of a graph, such as ``aten::add``, with the nodes of inner blocks."""
    for node in graph.nodes():
        yield node.kind()
        for block in node.blocks():
            yield from kinds(block)
