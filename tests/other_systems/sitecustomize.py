"""Lets this package see another system than Linux: a Python process imports this module at its start where its folder
is in PYTHONPATH. The variable STAND_IN names the system as ``sys.platform`` does: ``win32`` or ``darwin``.

The package then sees the modules and names that typeshed, the standard library's types in mypy, lists for that system.
For ``win32`` files also stay where they are as long as this process has them open or mapped. Other libraries see Linux.
"""

import ast
import builtins
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PLATFORM = os.environ["STAND_IN"]
PACKAGE = "bioimage_inference"
# Modules whose names differ between systems, and modules that Windows lacks.
PARTLY = ("os", "signal", "errno", "stat", "socket", "time", "select", "mmap")
UNIX_ONLY = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "readline", "curses")


class StandIn(ModuleType):
    """A module without some names, and with other values of some."""

    def __init__(self, real: ModuleType, hidden: set[str], other: dict[str, Any]) -> None:
        vars(self).update(real=real, hidden=hidden, other=other)

    def __getattr__(self, name: str) -> Any:
        if name in self.hidden:
            raise AttributeError(f"{self.real.__name__}.{name} does not exist on {PLATFORM}")
        return self.other[name] if name in self.other else getattr(self.real, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.real, name, value)


def listed(stub: Path) -> set[str]:
    """The names that a stub gives a module on the system."""
    return set(_names(ast.parse(stub.read_text(encoding="utf-8")).body))


def _names(body: list[ast.stmt]) -> Iterator[str]:
    for one in body:
        if isinstance(one, ast.If):
            condition = compile(ast.Expression(one.test), "stub", "eval")
            yield from _names(one.body if eval(condition, {"sys": SimpleNamespace(**SYSTEM)}) else one.orelse)
        elif isinstance(one, ast.Import | ast.ImportFrom):
            yield from (name.asname or name.name for name in one.names)
        elif isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield one.name
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            targets = one.targets if isinstance(one, ast.Assign) else [one.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


SYSTEM = {"platform": PLATFORM, "version_info": sys.version_info}


def stand_ins() -> dict[str, ModuleType]:
    """The modules as the package sees them."""
    mypy = importlib.util.find_spec("mypy")
    assert mypy is not None
    assert mypy.origin is not None
    stubs = Path(mypy.origin).parent / "typeshed" / "stdlib"
    other: dict[str, dict[str, Any]] = {"os": {"name": "nt"}} if PLATFORM == "win32" else {}
    found: dict[str, ModuleType] = {"sys": StandIn(sys, set(), {"platform": PLATFORM})}
    for name in PARTLY:
        real = __import__(name)
        stub = stubs / name / "__init__.pyi"
        known = listed(stub if stub.exists() else stubs / f"{name}.pyi")
        star = {"signal": listed(stubs / "_signal.pyi")} if (stubs / "_signal.pyi").exists() else {}
        known |= star.get(name, set())
        hidden = {one for one in dir(real) if not one.startswith("_") and one not in known}
        found[name] = StandIn(real, hidden, other.get(name, {}))
    import psutil

    class Process(psutil.Process):
        def memory_info(self) -> Any:
            seen = super().memory_info()
            return SimpleNamespace(rss=seen.rss, vms=seen.vms, peak_wset=seen.rss)

    found["psutil"] = StandIn(psutil, {"RLIMIT_AS"}, {"LINUX": False, "Process": Process})
    return found


def replace_imports(modules: dict[str, ModuleType]) -> None:
    """Give the package these modules when it imports them."""
    real = builtins.__import__
    absent = UNIX_ONLY if PLATFORM == "win32" else ()

    def imported(name: str, *arguments: Any, **words: Any) -> Any:
        scope = arguments[0] if arguments else words.get("globals")
        level = arguments[3] if len(arguments) > 3 else words.get("level", 0)
        if level == 0 and scope and str(scope.get("__package__")).partition(".")[0] == PACKAGE:
            if name in absent:
                raise ModuleNotFoundError(f"No module named {name!r} on {PLATFORM}", name=name)
            if name in modules:
                return modules[name]
        found = real(name, *arguments, **words)
        if (calls := sys.modules.get(f"{PACKAGE}.files.system_calls")) is not None:
            vars(calls)["_MOST_PATH"] = 1 << 20  # Linux does not know the prefix of long paths
        return found

    builtins.__import__ = imported


def keep_open_files() -> None:
    """Refuse to rename and to remove what this process has open or mapped, as Windows does."""
    for name, places in {"replace": 2, "rename": 2, "unlink": 1, "remove": 1, "rmdir": 1}.items():
        setattr(os, name, _refusing(getattr(os, name), places))


def _refusing(call: Callable[..., None], places: int) -> Callable[..., None]:
    @wraps(call)
    def refusing(*paths: Any, **words: Any) -> None:
        for path in paths[:places]:
            full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (links are not followed)
            for held in _held():
                if held == full or held.startswith(f"{full}{os.sep}"):
                    raise PermissionError(13, f"The file {held} is in use by this process", full)
        call(*paths, **words)

    return refusing


def _held() -> Iterator[str]:
    """The files that this process has open or mapped."""
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the descriptor that lists them
            yield str(descriptor.readlink())
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        yield from (line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count("/"))


replace_imports(stand_ins())
if PLATFORM == "win32":
    keep_open_files()
