"""The zoo that tests of this folder download from, and a machine without a network."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bioimageio.spec import settings

from bioimage_inference.zoo import file_download

from ..zoo_server import Zoo


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    """A zoo with the model ``quiet-newt``, and an empty cache."""
    # here, because the tests on other Pythons have no torch
    from ..models import Blur, edit_description, sha256, simple_tensors, write_model

    folder = tmp_path / "zoo"
    weights = {"keras_hdf5": {"source": "weights.h5", "sha256": "0" * 64}}
    inputs, outputs = simple_tensors(halo=3)
    rdf = write_model(folder / "quiet-newt", Blur((3, 3)), inputs, outputs, id="quiet-newt", version="1.2")
    content = yaml.safe_load(rdf.read_text())
    for tensor in (*content["inputs"], *content["outputs"]):
        tensor["sample_tensor"] = {"source": "sample.tif"}
        tensor["test_tensor"]["sha256"] = sha256(rdf.parent / tensor["test_tensor"]["source"])
    edit_description(rdf, weights=content["weights"] | weights, inputs=content["inputs"], outputs=content["outputs"])
    for name in ("cover.png", "weights.h5", "sample.tif", "attached.ijm"):
        (rdf.parent / name).write_bytes(b"\x89PNG")
    edit_description(rdf, covers=["cover.png"], attachments=[{"source": "attached.ijm"}])
    server = Zoo(folder)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("BIOIMAGEIO_CACHE_PATH", str(tmp_path / "cache"))
    monkeypatch.setattr(settings, "collection_http_pattern", server.pattern)
    monkeypatch.setattr(file_download, "PAUSE", 0.0)
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make every attempt to open a socket fail the test."""

    def forbid() -> None:
        def fail(*arguments: Any, **more: Any) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", fail)
        monkeypatch.setattr(socket, "create_connection", fail)
        monkeypatch.setattr(socket, "getaddrinfo", fail)

    return forbid
