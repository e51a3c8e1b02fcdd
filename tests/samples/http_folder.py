"""A folder behind a local HTTP server that can break connections, for the tests of remote shards."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """`url`; `asked`: how often each file was asked for; `break_off`: file name -> how many answers to cut short."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: Counter[str] = Counter()
        self.break_off: Counter[str] = Counter()


class _Handler(SimpleHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:
        name = Path(self.path).name
        self.server.asked[name] += 1
        data = source.read()
        if self.server.break_off[name] > 0:
            self.server.break_off[name] -= 1
            outputfile.write(data[: len(data) // 2])
            self.close_connection = True
            return
        outputfile.write(data)


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[Server]:
    with Server(folder, port) as server:
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
