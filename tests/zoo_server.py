"""A server that plays the zoo: the files of models, over HTTP, on this machine.

`python -m tests.zoo_server FOLDER PORT` runs it as a process, which prints what it was asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

PATTERN = "/{bioimageio_id}/rdf.yaml"
"""Path of a model's description on the server, as in the setting ``collection_http_pattern`` of bioimageio.spec."""


class Zoo(ThreadingHTTPServer):
    """A server with the files below ``folder``.

    ``asked`` has the path and the Range of each request. ``cut`` says after how many bytes the next answer for a name
    breaks off; ``ranges`` is whether the server understands Range; ``before`` is called with the path of each request.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.folder = folder
        self.asked: list[tuple[str, str | None]] = []
        self.cut: dict[str, list[int]] = {}
        self.ranges = True
        self.before: Callable[[str], None] = lambda path: None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def pattern(self) -> str:
        return self.address + PATTERN

    def times_asked(self, name: str) -> int:
        return [path.rpartition("/")[2] for path, _ in self.asked].count(name)


class _Handler(BaseHTTPRequestHandler):
    server: Zoo

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        self.server.before(self.path)
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        content, start = path.read_bytes(), 0
        if wanted and self.server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cuts = self.server.cut.get(path.name)
        self.wfile.write(content[start : start + cuts.pop(0) if cuts else None])
        self.close_connection = True

    def log_message(self, *arguments: Any) -> None:
        pass


def main(folder: str, port: str) -> None:
    """Serve until the process ends."""
    zoo = Zoo(Path(folder), int(port))
    zoo.before = lambda path: print(path, flush=True)
    zoo.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
