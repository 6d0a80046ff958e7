"""Import of engines whose makers collect usage data. Both imports report nothing to them."""

import os
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

_MISSING: Any = object()


def import_openvino() -> Any:
    """Import OpenVINO. Its own telemetry package, which reports every import, is hidden meanwhile."""
    with _entry(sys.modules, "openvino_telemetry", None):
        import openvino

    return openvino


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry switched off.

    Since version 1.32 the import itself prepares reports, and writes a device number into the user's cache folder. Only
    the environment variable prevents both. Older versions report on Windows alone, and obey the function only.
    """
    with _entry(os.environ, "ORT_DISABLE_TELEMETRY", "1"):
        import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


@contextmanager
def _entry(mapping: MutableMapping[str, Any], name: str, value: Any) -> Iterator[None]:
    """Set an entry of a mapping that the whole process shares, for one block."""
    before = mapping.get(name, _MISSING)
    mapping[name] = value
    try:
        yield
    finally:
        if before is _MISSING:
            del mapping[name]
        else:
            mapping[name] = before
