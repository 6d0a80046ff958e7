"""Compares the types that the code declares with the values in the pickles.

PyTorch finds an attribute by its position in the declared class, and does not check the class of the object. So it
reads memory beyond an object of a smaller class. The objects in the pickle must have the classes that the code
declares, and the code may not cast an object to another class.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .pickles import PickledObject
from .source_code import NotVetted, dotted_name

_PLAIN = ("Tensor", "Int", "Float", "Bool", "String", "Complex", "Number", "None", "DeviceObj")
_PLAIN_KINDS = frozenset(f"{name}Type" for name in (*_PLAIN, "List", "Dict", "Optional", "Union"))


@dataclass
class DeclaredClass:
    """A class of the file: its base class and the types of its attributes, in order."""

    base: str
    attributes: list[tuple[str, ast.expr]] = field(default_factory=list)


def declared_classes(code: Mapping[str, str]) -> dict[str, DeclaredClass]:
    """Return the classes in vetted code by full name. Raises :class:`NotVetted` for two classes of the same name."""
    classes: dict[str, DeclaredClass] = {}
    for file, text in code.items():
        place = file.removeprefix("code/").removesuffix(".py").replace("/", ".")
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef):
                name = f"{place}.{node.name}"
                if name in classes:
                    raise NotVetted(f"it defines {name} twice")
                base = dotted_name(node.bases[0]) if node.bases else ""
                classes[name] = DeclaredClass(base, list(_attributes(node)))
    return classes


def _attributes(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for line in node.body:
        match line:
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name, line.annotation
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(name)))]):
                yield name, line.value


def vet_objects(root: Any, classes: Mapping[str, DeclaredClass]) -> None:
    """Raise :class:`NotVetted` for an object of another class than the code declares."""
    _Comparison(classes).object(root)


class _Comparison:
    """Compares values with types, every pair once, because values may contain each other."""

    def __init__(self, classes: Mapping[str, DeclaredClass]) -> None:
        self.classes = classes
        self.seen: dict[tuple[int, int], bool] = {}

    def object(self, value: Any) -> None:
        """Compare the attributes of an object with its class, and the attributes of all objects in them."""
        waiting, seen = [value], set()
        while waiting:  # no recursion, because modules of a network may be nested deeply
            one = waiting.pop()
            if isinstance(one, PickledObject) and id(one) not in seen:
                seen.add(id(one))
                declared = self.classes.get(one.class_name)
                if declared is None:
                    raise NotVetted(f"it holds an object of {one.class_name}, which its code does not define")
                attributes = one.attributes or {}
                for name, kind in declared.attributes:
                    if name in attributes and not self.fits(attributes[name], kind):
                        words = ast.unparse(kind)
                        raise NotVetted(
                            f"its attribute {name} of {one.class_name} is no {words}, which its code declares"
                        )
                waiting += attributes.values()
            elif isinstance(one, list | tuple | dict) and id(one) not in seen:
                seen.add(id(one))
                waiting += [*one.keys(), *one.values()] if isinstance(one, dict) else one

    def fits(self, value: Any, kind: ast.expr) -> bool:
        """Return whether a value fits a type. Only objects and containers matter."""
        pair = (id(value), id(kind))
        if pair not in self.seen:
            self.seen[pair] = True  # for a value that contains itself
            self.seen[pair] = self._fits(value, kind)
        return self.seen[pair]

    def _fits(self, value: Any, kind: ast.expr) -> bool:
        match kind:
            case ast.Attribute():
                return self._has_class(value, dotted_name(kind))
            case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
                return value is None or self.fits(value, inner)
            case ast.Subscript(value=ast.Name(id="Final"), slice=inner):
                return self.fits(value, inner)
            case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=inners)):
                return any(self.fits(value, inner) for inner in inners)
            case ast.Subscript(value=ast.Name(id="List"), slice=inner):
                return isinstance(value, list) and all(self.fits(one, inner) for one in value)
            case ast.Subscript(value=ast.Name(id="Dict"), slice=ast.Tuple(elts=[of_key, of_value])):
                return isinstance(value, dict) and all(
                    self.fits(key, of_key) and self.fits(one, of_value) for key, one in value.items()
                )
            case ast.Subscript(value=ast.Name(id="Tuple"), slice=ast.Tuple(elts=inners)):
                return self._is_tuple(value, inners)
            case ast.Subscript(value=ast.Name(id="Tuple"), slice=inner):
                return self._is_tuple(value, [inner])
            case ast.Name(id="Any"):
                return True  # code can only cast such a value, see vet_casts
            case ast.Name() | ast.Constant():
                return not isinstance(value, PickledObject | list | tuple | dict)
            case _:
                return False

    def _has_class(self, value: Any, name: str) -> bool:
        declared = self.classes.get(name)
        if declared is not None and declared.base == "NamedTuple":
            return self._is_tuple(value, [kind for _, kind in declared.attributes])
        return isinstance(value, PickledObject) and value.class_name == name

    def _is_tuple(self, value: Any, kinds: list[ast.expr]) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) == len(kinds)
            and all(self.fits(one, kind) for one, kind in zip(value, kinds, strict=True))
        )


def vet_casts(graph: Any) -> None:
    """Raise :class:`NotVetted` for a graph that casts a value to another class or tuple.

    PyTorch itself checks a cast to a number, a tensor, a list or a text.
    """
    for node in graph.findAllNodes("prim::unchecked_cast"):
        before, after = node.inputsAt(0).type(), node.output().type()
        is_present = before.kind() == "OptionalType" and after.isSubtypeOf(before.getElementType())
        is_wider = before.isSubtypeOf(after)  # such as Any, which has no attributes
        if not (is_present or is_wider or _is_plain_type(after)):
            raise NotVetted(f"it uses {before.annotation_str} as {after.annotation_str}")


def _is_plain_type(kind: Any) -> bool:
    return kind.kind() in _PLAIN_KINDS and all(_is_plain_type(one) for one in kind.containedTypes())
