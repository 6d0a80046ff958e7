"""Reduces the tensors of a description to what inference needs, and has ``bioimageio.spec`` validate them.

This is the only module that decides what ``bioimageio.spec`` sees. Its classes of whole models also refuse
descriptions for texts, licences, covers and test files, so each tensor is validated on its own. Its converter from
format 0.4 to 0.5 is not used: it refuses 7 of 58 published descriptions of formats 0.3 and 0.4, for instance for a
halo beside a fixed size (bioimageio.spec 0.5.12.0).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from ..errors import ModelError
from ..image.axes import axis_id

Raw = Mapping[str, Any]
Tensors = list[tuple[Any, Raw]]
"""Tensors as ``bioimageio.spec`` validated them, each with its YAML."""

DTYPES = (
    *("float32", "float64", "bool"),
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
)
# Short ids of axes, which the validator of format 0.5 would replace with a report on standard error.
_SHORT_IDS = {letter: axis_id(letter) for letter in "btic"} | {"s": axis_id("c")}
_STEPS = {"input": "preprocessing", "output": "postprocessing"}
_AXIS_KEYS = ("type", "size", "channel_names", "scale")


def tensors_v0_4(content: Raw) -> tuple[Tensors, Tensors]:
    """Return the inputs and outputs of format 0.3 or 0.4. Raises :class:`ModelError` where one is not valid."""
    from bioimageio.spec.model import v0_4

    return (
        _validated(content, "input", v0_4.InputTensorDescr, _reduced_v0_4),
        _validated(content, "output", v0_4.OutputTensorDescr, _reduced_v0_4),
    )


def tensors_v0_5(content: Raw, notes: list[str]) -> tuple[Tensors, Tensors]:
    """Return the inputs and outputs of format 0.5; remarks for the user are appended to ``notes``.

    Raises :class:`ModelError` where one is not valid.
    """
    from bioimageio.spec.model import v0_5

    ids: dict[str, Mapping[str, str]] = {}
    for kind in ("output", "input"):  # a reference to a name that both have is one to the input
        for number, raw in enumerate(content[f"{kind}s"]):
            own = _axis_ids(raw, f"{kind} {number}")
            ids[_tensor_id(raw, kind)] = own

    def reduced(raw: Raw, kind: str, where: str) -> dict[str, Any]:
        return _reduced_v0_5(raw, kind, where, ids, notes)

    return (
        _validated(content, "input", v0_5.InputTensorDescr, reduced),
        _validated(content, "output", v0_5.OutputTensorDescr, reduced),
    )


def _validated(content: Raw, kind: str, descr_class: Any, reduced: Callable[[Any, str, str], Raw]) -> Tensors:
    """Validate all tensors of a kind; a complaint of the validator becomes one paragraph."""
    from bioimageio.spec import ValidationContext
    from pydantic import ValidationError

    found = []
    with warnings.catch_warnings(), ValidationContext(perform_io_checks=False, log_warnings=False, progressbar=False):
        warnings.simplefilter("ignore")  # remarks for the authors of descriptions, not for users
        for number, raw in enumerate(content[f"{kind}s"]):
            where = f"{kind} {number}"
            try:
                descr = descr_class.model_validate(reduced(raw, kind, where))
            except ValidationError as error:
                details = "; ".join(_complaint(problem) for problem in error.errors()[:3])
                raise ModelError(f"The description of {where} is not valid: {details}.") from error
            except LookupError as error:  # a validator looks for parts that another one refused
                raise ModelError(f"The description of {where} is not valid: parts of it are missing.") from error
            found.append((descr, raw))
    return found


def _complaint(problem: Any) -> str:
    """Return where a description is not valid and why, without the names that pydantic gives to alternatives."""
    place = ".".join(str(part) for part in problem["loc"] if isinstance(part, int) or part.isidentifier())
    reason = problem["msg"].removeprefix("Value error, ")[:300]
    return f"{place}: {reason}" if place else reason


def _reduced_v0_4(raw: Any, kind: str, where: str) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise ModelError(f"The description of {where} is no mapping of named facts. Download the model again.")
    reduced = {key: raw[key] for key in ("name", "axes", "shape") if key in raw}
    if isinstance(shape := raw.get("shape"), Mapping) and "reference_input" in shape:  # the name in format 0.3
        reduced["shape"] = {**shape, "reference_tensor": shape["reference_input"]}
        del reduced["shape"]["reference_input"]
    dtype = _dtype(raw.get("data_type", "float32"), where)
    if kind == "input":
        dtype = "float32"  # the validator knows three types, but the network gets float32 whatever is declared
    elif raw.get("halo"):
        reduced["halo"] = raw["halo"]
    return {**reduced, "data_type": dtype, _STEPS[kind]: _reduced_steps(raw.get(_STEPS[kind]))}


def _reduced_v0_5(
    raw: Raw, kind: str, where: str, ids: Mapping[str, Mapping[str, str]], notes: list[str]
) -> dict[str, Any]:
    """``ids`` has the axis ids of each tensor, by the tensor's id; see :func:`_axis_ids`."""
    own = _axis_ids(raw, where)
    data = raw.get("data")
    first = data[0] if isinstance(data, list | tuple) and data else data  # the dtypes of all channels agree
    first = first if isinstance(first, Mapping) else {}
    dtype = _dtype(first.get("type", "uint8" if "values" in first else "float32"), where)
    optional = {name: raw[name] for name in ("optional", "pad") if kind == "input" and raw.get(name) is not None}
    return {
        "id": _tensor_id(raw, kind),
        "axes": [_reduced_axis(axis, own, ids, where, notes) for axis in raw["axes"]],
        "data": {"type": dtype, **({"values": [False, True]} if dtype == "bool" else {})},
        _STEPS[kind]: _reduced_steps(raw.get(_STEPS[kind]), own),
        **optional,
    }


def _tensor_id(raw: Raw, kind: str) -> str:
    return str(raw.get("id", kind))


def _axis_id(axis: Raw) -> str:
    """Return the id that a description gives to an axis, by default the name of its type; x for space.

    Capital letters count as small ones, as in format 0.5.14.
    """
    kind = str(axis.get("type"))
    return str(axis.get("id", "x" if kind == "space" else kind)).lower()


def _axis_ids(raw: Any, where: str) -> dict[str, str]:
    """Return the validator's id for each id that the description of a tensor uses for an axis.

    The validator would replace letters by itself, but report each on standard error. An id that means another type of
    axis to it, such as ``b`` of a space axis, gets its type in front.
    """
    axes = raw.get("axes") if isinstance(raw, Mapping) else None
    if not isinstance(axes, Sequence) or not axes or not all(isinstance(axis, Mapping) for axis in axes):
        raise ModelError(f"The description of {where} has no list of axes. Download the model again.")
    ids = dict(_SHORT_IDS)
    for axis in axes:
        kind, written = str(axis.get("type")), _axis_id(axis)
        meant = _SHORT_IDS.get(written, written)
        # bioimageio.spec allows ids of 16 letters
        ids[written] = f"{kind}_{written}"[:16] if meant in _SHORT_IDS.values() and meant != kind else meant
    return ids


def _reduced_axis(
    axis: Raw, own: Mapping[str, str], ids: Mapping[str, Mapping[str, str]], where: str, notes: list[str]
) -> dict[str, Any]:
    written = _axis_id(axis)
    reduced: dict[str, Any] = {name: axis[name] for name in _AXIS_KEYS if name in axis} | {"id": own[written]}
    size = axis.get("size")
    if isinstance(size, Mapping) and "axis_id" in size:
        target = str(size["axis_id"]).lower()
        reduced["size"] = {**size, "axis_id": ids.get(str(size.get("tensor_id")), _SHORT_IDS).get(target, target)}
    unit = axis.get("unit")
    if unit in _known_units():
        reduced["unit"] = unit
    elif unit is not None:
        notes.append(f"The unit {unit!r} of axis {written!r} of {where} is not known and is ignored.")
    return reduced


def _known_units() -> tuple[Any, ...]:
    from bioimageio.spec.model import v0_5

    return (*get_args(v0_5.SpaceUnit), *get_args(v0_5.TimeUnit))


def _dtype(value: Any, where: str) -> str:
    if value not in DTYPES:
        raise ModelError(
            f"The description of {where} declares the data type {value!r}; known are {', '.join(DTYPES)}. "
            "Correct the description, or ask the model's authors."
        )
    return str(value)


def _reduced_steps(steps: Any, ids: Mapping[str, str] | None = None) -> Any:
    """Return pre- or postprocessing without steps that change nothing; ``ids`` of axes are those of format 0.5."""
    if not isinstance(steps, list | tuple):
        return steps or []
    return [_reduced_step(step, ids) for step in steps if not _changes_nothing(step)]


def _changes_nothing(step: Any) -> bool:
    """Return whether a step multiplies by 1 and adds 0, which the validator refuses."""
    if not isinstance(step, Mapping) or "scale_linear" not in (step.get("id"), step.get("name")):
        return False
    kwargs = step.get("kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    return all(
        number == neutral
        for key, neutral in (("gain", 1), ("offset", 0))
        for number in (kwargs[key] if isinstance(kwargs.get(key), list | tuple) else [kwargs.get(key, neutral)])
    )


def _reduced_step(step: Any, ids: Mapping[str, str] | None) -> Any:
    """Return a step without empty arguments and, where ``ids`` are given, with the validator's ids of axes."""
    if not isinstance(step, Mapping):
        return step
    step = {key: value for key, value in step.items() if key != "kwargs" or value}
    kwargs = step.get("kwargs")
    if ids is None or not isinstance(kwargs, Mapping) or step.get("id") == "custom":  # custom has its own arguments
        return step
    kwargs = dict(kwargs)
    if isinstance(kwargs.get("axes"), list | tuple | str):
        kwargs["axes"] = [ids.get(str(axis).lower(), axis) for axis in kwargs["axes"]]
    if isinstance(kwargs.get("axis"), str):
        kwargs["axis"] = ids.get(kwargs["axis"].lower(), kwargs["axis"])
        if step.get("id") == "scale_linear" and not any(
            isinstance(kwargs.get(key), list | tuple) for key in ("gain", "offset")
        ):
            del kwargs["axis"]  # the validator refuses an axis beside one number for all of its entries
    return {**step, "kwargs": kwargs}
