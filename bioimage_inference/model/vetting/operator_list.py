"""The operators that vetted TorchScript may use."""

from functools import cache
from importlib.resources import files

_FILE = "allowed_operations.tsv"


@cache
def allowed_operations() -> frozenset[str]:
    """Names of the operators, with their namespaces: ``aten::conv2d``, ``prim::If``.

    ``scripts/list_operations.py`` writes the file and says where each operator was seen.
    """
    lines = (files(__package__) / _FILE).read_text(encoding="utf-8").splitlines()
    return frozenset(line.split("\t")[0] for line in lines if line and not line.startswith("#"))
