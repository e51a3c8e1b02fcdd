"""A local HTTP server that plays a model hub: repositories with commits, as huggingface_hub asks for them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """commits: commit -> its files; branches: name -> commit; gated: its conditions were not accepted."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False

    def push(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Returns the commit."""
        commit = hashlib.sha1(b"".join(name.encode() + data for name, data in sorted(files.items()))).hexdigest()
        self.commits[commit], self.branches[branch] = files, commit
        return commit


class Server(ThreadingHTTPServer):
    """repositories: OWNER/NAME -> repository. asked: what was asked for, "METHOD /path". down: every answer is 503."""

    repositories: dict[str, Repository]
    asked: list[str]
    down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fetched(self) -> list[str]:
        """The names of the files whose bytes were asked for, sorted; forgets what was asked."""
        names = [
            what.split("/resolve/")[1].split("/", 1)[1] for what in self.asked if re.match("GET .*/resolve/", what)
        ]
        self.asked.clear()
        return sorted(names)


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if self.server.down:
            return self.answer(503)
        listed = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        name, revision = (listed[1], listed[3]) if listed else (file[1], file[2]) if file else ("", "")
        repository = self.server.repositories.get(name)
        if repository is None:
            return self.answer(404, X_Error_Code="RepoNotFound")
        if repository.gated:
            return self.answer(403, X_Error_Code="GatedRepo")
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            return self.answer(404, X_Error_Code="RevisionNotFound")
        files = repository.commits[commit]
        if listed and listed[2] == "revision":
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())
        if listed:
            entries = [{"type": "file", "path": n, "size": len(d), "oid": _id(d)} for n, d in files.items()]
            return self.answer(200, json.dumps(entries).encode())
        assert file is not None
        if file[3] not in files:
            return self.answer(404, X_Error_Code="EntryNotFound")
        data = files[file[3]]
        return self.answer(200, data, ETag=f'"{_id(data)}"', X_Repo_Commit=commit)


def _id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@contextmanager
def hub() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as server:
        server.repositories, server.asked = {}, []
        thread = Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
