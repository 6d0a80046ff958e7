"""Vets the source code in a TorchScript file.

PyTorch writes the code of a saved network in a small part of Python. Vetting refuses everything beyond this part, also
harmless code, because an allow-list has no gaps. It writes the vetted code anew from its syntax tree. So PyTorch parses
exactly the checked code, without comments and in plain strings.
"""

import ast
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

_BASES = ("Module", "NamedTuple", "Enum")
# Functions of TorchScript in saved code, and the operators that they call.
_BUILTINS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("annotate", "uninitialized", "getattr", "range"), ()),
    "unchecked_cast": ("prim::unchecked_cast",),
    "int": ("aten::Int",),
    "float": ("aten::Float",),
    "bool": ("aten::Bool",),
    "str": ("aten::str",),
    "sorted": ("aten::sorted",),
    "isinstance": ("prim::isinstance",),
}
_TYPED = ("annotate", "unchecked_cast", "uninitialized")  # their first argument is a type
# PyTorch computes divisions and gcd of constants while it loads code, and crashes for 1 % 0 and for the smallest
# integer divided by -1. So vetting hides their arguments from PyTorch until the network computes. Then
# argument_checks.py checks them.
_DIVISIONS = ("floordiv", "remainder", "gcd")
_SPECIAL_METHODS = ("__init__", "__len__", "__contains__", "__getitem__", "__call__")
_CONSTANT = re.compile(r"c\d+")
_ROOTS = ("torch", "ops", "__torch__", "CONSTANTS")


class NotVetted(Exception):
    """The reason to refuse TorchScript, as a clause: ``it calls torch.save (code/__torch__.py, line 12)``."""


@dataclass(frozen=True)
class Vocabulary:
    """Names that code may use.

    ``allowed`` holds operators such as ``aten::add``. ``is_operator`` returns whether PyTorch has an operator of a
    name. ``methods`` holds the methods that the file itself defines.
    """

    allowed: Collection[str]
    is_operator: Callable[[str], bool]
    methods: set[str] = field(default_factory=set)


def vetted_sources(
    sources: Mapping[str, bytes], allowed: Collection[str], is_operator: Callable[[str], bool]
) -> dict[str, str]:
    """Return the code of all files by file name, written anew. Raises :class:`NotVetted`."""
    trees = {name: _parsed(name, content) for name, content in sources.items()}
    vocabulary = Vocabulary(allowed, is_operator)
    for tree in trees.values():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                vocabulary.methods.update(one.name for one in node.body if isinstance(one, ast.FunctionDef))
    return {name: _vetted(name, tree, vocabulary) for name, tree in trees.items()}


def is_plain(text: str) -> bool:
    """Return whether a text holds only printable characters, tabs and line breaks."""
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


def _parsed(name: str, content: bytes) -> ast.Module:
    try:
        return ast.parse(content.decode("utf-8"))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotVetted(f"its code {name} cannot be read ({error})") from error


def _vetted(name: str, tree: ast.Module, vocabulary: Vocabulary) -> str:
    checker = _Checker(name, vocabulary)
    for node in tree.body:
        checker.definition(node)
    try:
        return f"{ast.unparse(tree)}\n"
    except RecursionError as error:
        raise NotVetted(f"its code {name} is nested too deeply") from error


class _Checker:
    """Checks the nodes of one file. Every method raises :class:`NotVetted` for a node that is not allowed."""

    def __init__(self, name: str, vocabulary: Vocabulary) -> None:
        self.name, self.vocabulary = name, vocabulary
        self.functions: set[str] = set()  # local names of the file's functions, within one function

    def definition(self, node: ast.stmt) -> None:
        """Check a class or function at the top of a file."""
        match node:
            case ast.ClassDef(decorator_list=[], keywords=[]) if len(node.bases) <= 1:
                if any(not isinstance(base, ast.Name) or base.id not in _BASES for base in node.bases):
                    self.refuse(node, f"has the base class {ast.unparse(node.bases[0])}")
                for one in node.body:
                    self.member(one)
            case ast.FunctionDef():
                self.function(node)
            case ast.Assign(targets=[ast.Name(id="op_version_set")], value=ast.Constant(value=int())):
                pass  # the first line in files of PyTorch 1.2
            case _:
                self.refuse(node)

    def member(self, node: ast.stmt) -> None:
        """Check a line in the body of a class."""
        match node:
            case ast.FunctionDef():
                self.function(node)
            case ast.AnnAssign(target=ast.Name(), value=value):
                self.type(node.annotation)
                if value is not None:
                    self.literal(value)
            case ast.Assign(targets=[ast.Subscript(value=ast.Name(id="__annotations__"), slice=ast.Constant())]):
                self.type(node.value)
            case ast.Assign(targets=[ast.Name()]):
                self.literal(node.value)
            case ast.Pass():
                pass
            case _:
                self.refuse(node)

    def function(self, node: ast.FunctionDef) -> None:
        """Check a function or method. PyTorch computes default values during loading, so they must be literals."""
        arguments = node.args
        if node.decorator_list or arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            self.refuse(node, f"defines {node.name} in an unusual way")
        if _is_special(node.name) and node.name not in _SPECIAL_METHODS:
            self.refuse(node, f"defines {node.name}")
        for default in (*arguments.defaults, *arguments.kw_defaults):
            if default is not None:
                self.literal(default)
        types = [one.annotation for one in (*arguments.args, *arguments.kwonlyargs)]
        for one in (*types, node.returns):
            if one is not None:
                self.type(one)
        self.functions = set()
        self.block(node.body)

    def block(self, body: Iterable[ast.stmt]) -> None:
        """Check the statements of a function."""
        for node in body:
            self.statement(node)

    def statement(self, node: ast.stmt) -> None:
        """Check one statement of a function."""
        match node:
            case ast.Assign(targets=[target], value=value):
                self.target(target)
                if isinstance(target, ast.Name):
                    is_function = dotted_name(value).startswith("__torch__.")
                    (self.functions.add if is_function else self.functions.discard)(target.id)
                self.expression(value)
            case ast.AnnAssign(target=ast.Name(), value=value):
                self.type(node.annotation)
                if value is not None:
                    self.expression(value)
            case ast.Expr(value=ast.Call()):
                self.expression(node.value)
            case ast.If() | ast.While():
                self.expression(node.test)
                self.block(node.body)
                self.block(node.orelse)
            case ast.For(orelse=[]):
                self.target(node.target)
                self.expression(node.iter)
                self.block(node.body)
            case ast.Return(value=value):
                if value is not None:
                    self.expression(value)
            case ast.Pass():
                pass
            case _:
                self.refuse(node)

    def target(self, node: ast.expr) -> None:
        """Check the target of an assignment."""
        match node:
            case ast.Name():
                if node.id in _ROOTS or node.id in _BUILTINS:
                    self.refuse(node, f"gives {node.id} another meaning")
            case ast.Tuple(elts=parts):
                for part in parts:
                    self.target(part)
            case ast.Attribute():
                self.expression(node)
            case _:
                self.refuse(node)

    def expression(self, node: ast.expr) -> None:
        """Check a value, or the call of an operator, function or method."""
        match node:
            case ast.Constant():
                self.constant(node)
            case ast.Name():
                if node.id in ("torch", "ops"):
                    self.refuse(node, f"uses {node.id} as a value")
            case ast.List() | ast.Tuple() | ast.Dict():
                for part in self.parts(node):
                    self.expression(part)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()) | ast.Name(id="inf" | "nan")):
                pass
            case ast.Subscript(value=value, slice=index):
                self.expression(value)
                ends = (index.lower, index.upper, index.step) if isinstance(index, ast.Slice) else (index,)
                for end in ends:
                    if end is not None:
                        self.expression(end)
            case ast.Attribute():
                self.attribute(node)
            case ast.Call():
                self.call(node)
            case _:
                self.refuse(node)

    def attribute(self, node: ast.Attribute) -> None:
        """Check a part of a module, a constant of the file, or one of the file's functions."""
        dotted = dotted_name(node)
        root, _, rest = dotted.partition(".")
        if root in ("torch", "ops"):
            self.refuse(node, f"uses {dotted} as a value")
        if root == "CONSTANTS":
            if not _CONSTANT.fullmatch(rest):
                self.refuse(node, f"uses {dotted}")
        elif root == "__torch__":
            self.own_name(node, dotted)
        else:
            if _is_special(node.attr):
                self.refuse(node, f"uses the attribute {node.attr}")
            self.expression(node.value)

    def own_name(self, node: ast.AST, dotted: str) -> None:
        """Check the name of a class or function of the file."""
        if "torch.classes" in dotted:  # classes of C++
            self.refuse(node, f"uses {dotted}")

    def call(self, node: ast.Call) -> None:
        """Check a call with its arguments."""
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if any(keyword.arg is None for keyword in node.keywords):
            self.refuse(node)
        dotted = dotted_name(node.func)
        root = dotted.partition(".")[0]
        match node.func:
            case ast.Name(id=name) if name in _BUILTINS:
                self.operators(node, name, _BUILTINS[name])
                if name in _TYPED:
                    if not arguments:
                        self.refuse(node)
                    self.type(arguments.pop(0))
                elif name == "isinstance":
                    if len(arguments) != 2:
                        self.refuse(node)
                    self.type(arguments.pop())
                elif name == "getattr":
                    match arguments:
                        case [_, ast.Constant(value=str(text))] if not text.startswith("__"):
                            pass
                        case _:
                            self.refuse(node, "uses getattr with a name that is no literal")
            case ast.Name(id=name):
                if name not in self.functions:
                    self.refuse(node, f"calls {name}")
            case ast.Attribute() if root == "torch":
                self.operators(node, dotted, [f"aten::{dotted.removeprefix('torch.')}"])
            case ast.Attribute() if root == "ops":
                self.operators(node, dotted, [dotted.removeprefix("ops.").replace(".", "::", 1)])
            case ast.Attribute() if root == "__torch__":
                self.own_name(node, dotted)
            case ast.Attribute(value=value, attr=name) if root != "CONSTANTS":
                self.method(node, name)
                self.expression(value)
            case _:
                self.refuse(node)
        for argument in arguments:
            self.expression(argument)
        if isinstance(node.func, ast.Attribute) and node.func.attr in _DIVISIONS:
            node.args = [_hidden(one) for one in node.args]
            for keyword in node.keywords:
                keyword.value = _hidden(keyword.value)

    def operators(self, node: ast.AST, called: str, names: Iterable[str]) -> None:
        """Check operators of PyTorch by full name."""
        if not all(name in self.vocabulary.allowed for name in names):
            self.refuse(node, f"calls {called}")

    def method(self, node: ast.AST, name: str) -> None:
        """Check a method of the file's classes. Tensors have operators as methods, too."""
        known = name in self.vocabulary.methods
        if not known or (self.vocabulary.is_operator(name) and f"aten::{name}" not in self.vocabulary.allowed):
            self.refuse(node, f"calls the method {name}")

    def type(self, node: ast.expr) -> None:
        """Check the type of a value, such as ``Optional[Tensor]``."""
        match node:
            case ast.Name():
                if node.id in ("torch", "ops"):
                    self.refuse(node)
            case ast.Attribute() if dotted_name(node).startswith("__torch__."):
                self.own_name(node, dotted_name(node))
            case ast.Subscript(value=ast.Name(), slice=index):
                self.type(index)
            case ast.Tuple(elts=parts):
                for part in parts:
                    self.type(part)
            case ast.Constant(value=None):
                pass
            case _:
                self.refuse(node, f"names the type {ast.unparse(node)[:80]}")

    def literal(self, node: ast.expr) -> None:
        """Check a value that computes nothing."""
        match node:
            case ast.Call(func=ast.Name(id="annotate"), args=[kind, value], keywords=[]):
                self.type(kind)
                self.literal(value)
            case ast.List() | ast.Tuple() | ast.Dict():
                for part in self.parts(node):
                    self.literal(part)
            case ast.Constant() | ast.UnaryOp() | ast.Name(id="inf" | "nan"):
                self.expression(node)
            case ast.Attribute() if dotted_name(node).startswith("CONSTANTS."):
                self.attribute(node)
            case _:
                self.refuse(node, "has a default value that is no literal")

    def parts(self, node: ast.List | ast.Tuple | ast.Dict) -> list[ast.expr]:
        """Return the values in a list or tuple, or the keys and values of a dictionary."""
        if not isinstance(node, ast.Dict):
            return node.elts
        keys = [key for key in node.keys if key is not None]
        if len(keys) < len(node.keys):  # a key of None unpacks another dictionary
            self.refuse(node)
        return [*keys, *node.values]

    def constant(self, node: ast.Constant) -> None:
        """Check a constant: a number, a truth value, ``None``, or a text that is safe to print."""
        if isinstance(node.value, str):
            if not is_plain(node.value):
                self.refuse(node, "holds a text with control characters")
        elif node.value is not None and not isinstance(node.value, bool | int | float):
            self.refuse(node)

    def refuse(self, node: ast.AST, does: str | None = None) -> NoReturn:
        """Raise :class:`NotVetted` with the reason and the line."""
        line = getattr(node, "lineno", 0)
        does = does or f"has a statement that networks do not need ({type(node).__name__})"
        raise NotVetted(f"it {does} ({self.name}, line {line})")


def _hidden(node: ast.expr) -> ast.expr:
    """Return a value as an element of a list: PyTorch does not compute it during loading. Literals but 0 are safe."""
    if isinstance(node, ast.Constant) and node.value:
        return node
    return ast.Subscript(ast.List([node], ast.Load()), ast.Constant(0), ast.Load())


def _is_special(name: str) -> bool:
    """Return whether Python or PyTorch calls a method of this name by itself. PyTorch's getters are ``__x_getter``."""
    return name.startswith("__") and name.endswith("__")


def dotted_name(node: ast.AST) -> str:
    """Return ``a.b.c`` for an expression of this form, an empty text for any other."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            before = dotted_name(value)
            return f"{before}.{name}" if before else ""
        case _:
            return ""
