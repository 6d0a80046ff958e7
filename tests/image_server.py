"""A server for tests, in this process: the files of a folder over HTTP, or as objects of a bucket as S3 names them."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass
class ImageServer:
    """The address of a running server, and what it was asked.

    ``failures`` has the status codes that the next requests of a path get; ``answers`` replaces the content of a path.
    ``ranges`` is false for a server that answers every request with the whole file.
    """

    folder: Path
    address: str = ""
    asked: list[str] = field(default_factory=list)
    sent: int = 0
    failures: dict[str, list[int]] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)
    cut: set[str] = field(default_factory=set)
    missing: int = 404
    ranges: bool = True

    @property
    def counts(self) -> Counter[str]:
        """How often each path was asked for."""
        return Counter(self.asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, server: ImageServer, *arguments: object) -> None:
        self.images = server
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, body: bool) -> None:
        images, path = self.images, unquote(urlsplit(self.path).path).strip("/")
        images.asked.append(path)
        file = images.folder / path
        if images.failures.get(path):
            self._send(images.failures[path].pop(0), b"", body)
        elif path in images.answers:
            self._send(200, images.answers[path], body)
        elif not file.is_file():
            self._send(images.missing, b"", body)
        else:
            self._send_part(path, file.read_bytes(), body)

    def _send_part(self, path: str, content: bytes, body: bool) -> None:
        wanted = self.headers.get("Range", "")
        status, extra, part = 200, {}, content
        if wanted and self.images.ranges:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start = int(first) if first else len(content) - int(last)
            stop = int(last) + 1 if first and last else len(content)
            status, part = 206, content[start:stop]
            extra = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(content)}"}
        self._send(status, part, body, cut=path in self.images.cut, **extra)

    def _send(self, status: int, content: bytes, body: bool, cut: bool = False, **extra: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "ETag": '"1"', **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.images.sent += len(content)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[ImageServer]:
    """Serve a folder on this machine for as long as the block lasts."""
    images = ImageServer(folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, images)) as server:
        server.daemon_threads = True
        images.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield images
        finally:
            server.shutdown()
            thread.join()
