"""What inference needs of a tensor in format 0.5, so that the official validator has nothing else to refuse.

Names of axes are brought into the validator's form here: it would do so itself, but say so on standard error.
"""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from ..errors import ModelError
from ..image.axes import axis_id
from .tensor_rules import declared_dtype, needed_steps

Raw = Mapping[str, Any]

_TYPES = {letter: axis_id(letter) for letter in "btic"}
_DEFAULT_IDS = {"batch": "batch", "channel": "channel", "index": "index", "time": "time", "space": "x"}
_AXIS_KEYS = ("type", "size", "halo", "channel_names", "scale")


def needed_tensors(content: Raw, notes: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The lists ``inputs`` and ``outputs`` of a description, reduced to what is needed; remarks go to ``notes``.

    Halos stay in the axes, also where the validator takes none. Raises :class:`ModelError` for what is no tensor.
    """
    described: dict[str, list[Raw]] = {key: list(content[key]) for key in ("inputs", "outputs")}
    names: dict[str, dict[str, str]] = {}
    for key in ("outputs", "inputs"):  # a reference to a name that both have is one to the input
        for number, raw in enumerate(described[key]):
            where = f"{key[:-1]} {number}"
            names[_tensor_id(raw, key)] = _axis_ids(raw, where)
    return {
        key: [_needed_tensor(raw, key, f"{key[:-1]} {number}", names, notes) for number, raw in enumerate(raws)]
        for key, raws in described.items()
    }


def _tensor_id(raw: Any, key: str) -> str:
    return str(raw.get("id", key[:-1])) if isinstance(raw, Mapping) else ""


def _axis_ids(raw: Any, where: str) -> dict[str, str]:
    """From an axis id as it was written to the one that the validator has for it."""
    axes = raw.get("axes") if isinstance(raw, Mapping) else None
    if not isinstance(axes, Sequence) or not axes or not all(isinstance(axis, Mapping) for axis in axes):
        raise ModelError(f"The description of {where} has no list of axes. Download the model again.")
    ids = {}
    for axis in axes:
        kind = str(axis.get("type"))
        written = str(axis.get("id", _DEFAULT_IDS.get(kind, kind)))
        meant = _TYPES.get(written, written)
        # a name that stands for another type of axis, such as a space axis "b", would be taken for that
        ids[written] = f"{kind}_{written}"[:16] if meant in _TYPES.values() and meant != kind else meant
    return ids


def _needed_tensor(
    raw: Raw, key: str, where: str, names: Mapping[str, Mapping[str, str]], notes: list[str]
) -> dict[str, Any]:
    own = _axis_ids(raw, where)
    steps = "preprocessing" if key == "inputs" else "postprocessing"
    needed: dict[str, Any] = {
        "id": _tensor_id(raw, key),
        "axes": [_needed_axis(axis, own, names, where, notes) for axis in raw["axes"]],
        "data": _needed_data(raw.get("data"), where),
        steps: _needed_steps(raw.get(steps), own),
    }
    return needed | {name: raw[name] for name in ("optional", "pad") if key == "inputs" and raw.get(name) is not None}


def _needed_axis(
    axis: Raw, own: Mapping[str, str], names: Mapping[str, Mapping[str, str]], where: str, notes: list[str]
) -> dict[str, Any]:
    kind = str(axis.get("type"))
    written = str(axis.get("id", _DEFAULT_IDS.get(kind, kind)))
    needed: dict[str, Any] = {name: axis[name] for name in _AXIS_KEYS if name in axis} | {"id": own[written]}
    size = axis.get("size")
    if isinstance(size, Mapping) and "axis_id" in size:
        others, target = names.get(str(size.get("tensor_id")), {}), str(size["axis_id"])
        needed["size"] = {**size, "axis_id": others.get(target, _TYPES.get(target, target))}
    halo = needed.setdefault("halo", 0)
    if not isinstance(halo, int) or halo < 0:
        raise ModelError(f"The description of {where} gives axis {written!r} the halo {halo!r}, which is no number.")
    unit = axis.get("unit")
    if unit in _known_units():
        needed["unit"] = unit
    elif unit is not None:
        notes.append(f"The unit {unit!r} of axis {written!r} of {where} is not known and is left aside.")
    return needed


def _known_units() -> tuple[Any, ...]:
    from bioimageio.spec.model import v0_5

    return (*get_args(v0_5.SpaceUnit), *get_args(v0_5.TimeUnit))


def _needed_data(data: Any, where: str) -> dict[str, Any]:
    """The dtype alone; where it is given for each channel, it is that of the first."""
    first = data[0] if isinstance(data, Sequence) and data else data
    first = first if isinstance(first, Mapping) else {}
    dtype = declared_dtype(first.get("type", "uint8" if "values" in first else "float32"), where)
    return {"type": dtype, "values": [False, True]} if dtype == "bool" else {"type": dtype}


def _needed_steps(steps: Any, own: Mapping[str, str]) -> Any:
    needed = needed_steps(steps)
    return [_needed_step(step, own) for step in needed] if isinstance(needed, list) else needed


def _needed_step(step: Any, own: Mapping[str, str]) -> Any:
    """A step with the names of axes in the validator's form; ``custom`` has arguments of its own."""
    kwargs = step.get("kwargs") if isinstance(step, Mapping) else None
    if not isinstance(kwargs, Mapping) or step.get("id") == "custom":
        return step
    kwargs = dict(kwargs)
    if isinstance(kwargs.get("axes"), list | tuple | str):
        kwargs["axes"] = [own.get(str(axis), _TYPES.get(str(axis), axis)) for axis in kwargs["axes"]]
    if isinstance(kwargs.get("axis"), str):
        kwargs["axis"] = own.get(kwargs["axis"], _TYPES.get(kwargs["axis"], kwargs["axis"]))
        if step.get("id") == "scale_linear" and not any(
            isinstance(kwargs.get(key), list | tuple) for key in ("gain", "offset")
        ):
            del kwargs["axis"]  # one number for all entries along it
    return {**step, "kwargs": kwargs}
