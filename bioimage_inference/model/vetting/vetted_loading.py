"""Loads TorchScript that was checked, from a fresh archive in memory.

PyTorch's own reader gives the members of the file, because another reader can see other members in the same file (two
directories, names that differ in case). The parts of ``torch._C`` that this module uses were tested with torch 2.13.
"""

import io
import os
import re
import resource
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .declarations import declared_classes, vet_casts, vet_objects
from .operator_list import allowed_operations
from .pickles import vet_pickle
from .source_code import NotVetted, vetted_sources

if TYPE_CHECKING:
    import torch

_CODE = re.compile(r"code/[\w/]+\.py")
_PICKLES = {"data.pkl": "data/", "constants.pkl": "constants/"}
_FACTS = ("version", ".data/version", "byteorder")  # the second where an operator is newer than the file format
_OFFSET_OF_METHOD, _STORED = 8, b"\0\0"  # in the local header of a zip archive, and "not compressed"
_MOST_AT_ONCE = 1 << 30  # bytes; a call of the kernel copies less than 2 GiB
_MOST_CODE = 16 << 20  # bytes; the largest networks of the zoo have less than 1 MiB


def load_vetted(path: Path) -> "torch.nn.Module":
    """The network in a TorchScript file, on the CPU, after every check.

    Raises :class:`NotVetted` where the file may do anything but compute, and what PyTorch raises for a damaged file.
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
    """Memory for the fresh archive: a file without a name, to which the kernel copies, or else a buffer.

    Only Linux has such files, and a limit on the size of files (``ulimit -f``) would count for them.
    """
    if sys.platform != "linux" or resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return io.BytesIO()
    return os.fdopen(os.memfd_create("network"), "w+b")


def _imported(unit: Any, archive: BinaryIO) -> Any:
    """The network in an archive that :func:`_memory` gave, compiled into ``unit``, on the CPU."""
    import torch

    compiler: Any = torch._C  # its types are wrong
    cpu = torch.device("cpu")
    if isinstance(archive, io.BytesIO):
        return compiler.import_ir_module_from_buffer(unit, archive.getvalue(), cpu, {}, False)
    archive.flush()
    return compiler.import_ir_module(unit, f"/dev/fd/{archive.fileno()}", cpu, {}, False)


def _write_fresh_archive(path: Path, file: BinaryIO) -> None:
    """Write the members that a network needs, checked, as a zip archive."""
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


def _copy_data(name: str, size: int, reader: Any, source: BinaryIO, archive: zipfile.ZipFile) -> None:
    """Copy the data of a tensor, which may take a gigabyte: by the kernel, if they are not compressed and it can.

    The checksum in the copy is 0 then. PyTorch looks at none.
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
        copied = os.sendfile(file.fileno(), source.fileno(), place, min(end - place, _MOST_AT_ONCE))
        if not copied:
            raise NotVetted(f"it ends within {name}")
        place += copied
    file.seek(0, os.SEEK_END)
    archive.filelist.append(member)
    archive.start_dir = file.tell()  # where the next member, or the directory, is written


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
