"""A local HTTP server of files in memory that breaks connections, refuses, and states checksums as the real ones do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from flam_train.data.preparation.published import Archive


class Server(ThreadingHTTPServer):
    """What it serves, and how badly.

    files    path and query -> bytes
    headers  path and query -> further headers of the answer
    breaks   how many answers end after `piece` bytes; busy: how many are 503
    moved    path -> the address it redirects to
    ranges   whether it knows them; asked: the ranges that were asked for; hits: the paths
    """

    files: dict[str, bytes]
    headers: dict[str, list[tuple[str, str]]]
    moved: dict[str, str]
    breaks = 0
    busy = 0
    piece = 100_000
    ranges = True
    asked: list[str | None]
    hits: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        path = self.path.removeprefix("/")
        data = self.server.files.get(path)
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        self.server.hits.append(path)
        if self.server.busy > 0:
            self.server.busy -= 1
            self.send_error(503)
            return
        if path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if data is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if wanted and self.server.ranges else 200)
        self.send_header("Content-Length", str(len(data) - start))
        for header in self.server.headers.get(path, ()):
            self.send_header(*header)
        self.end_headers()
        if not body:
            return
        if self.server.breaks > 0:
            self.server.breaks -= 1
            self.wfile.write(data[start : start + self.server.piece])
            return
        self.wfile.write(data[start:])


@contextmanager
def serving() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as server:
        server.files, server.headers, server.moved, server.asked, server.hits = {}, {}, {}, [], []
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offer(server: Server, name: str, data: bytes) -> Archive:
    """With its md5 written down."""
    server.files[name] = data
    return Archive(f"{server.url}/{name}", name, f"md5:{hashlib.md5(data).hexdigest()}")


def git_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def offer_record(server: Server, number: int, files: dict[str, bytes]) -> None:
    """As Zenodo does."""
    listed = [{"key": name, "checksum": f"md5:{hashlib.md5(data).hexdigest()}"} for name, data in files.items()]
    server.files[f"api/records/{number}"] = json.dumps({"id": number, "files": listed}).encode()
    server.files |= {f"records/{number}/files/{name}": data for name, data in files.items()}


def offer_dataset(server: Server, dataset: str, files: dict[str, bytes], page: int = 2) -> None:
    """As the Hugging Face hub does: listed in pages, large files by SHA-256 and small ones by git's id."""
    entries: list[dict] = [{"type": "directory", "path": "folder", "oid": "0" * 40}]
    for path, data in files.items():
        entry = {"type": "file", "path": path, "oid": git_id(data), "size": len(data)}
        if len(data) > 1000:  # the git id is that of the pointer then
            entry |= {"oid": "1" * 40, "lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}}
        entries.append(entry)
        server.files[f"datasets/{dataset}/resolve/main/{path}"] = data
    listing = f"api/datasets/{dataset}/tree/main?recursive=true"
    for begin in range(0, len(entries), page):
        at = f"{listing}&cursor={begin}" if begin else listing
        server.files[at] = json.dumps(entries[begin : begin + page]).encode()
        if begin + page < len(entries):
            server.headers[at] = [("Link", f'<{server.url}/{listing}&cursor={begin + page}>; rel="next"')]
