"""A server of files that can be told to misbehave, and the command as a process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest


@dataclass
class Files:
    """What a server gives, and how.

    Attributes:
        content: the bytes of every file.
        breaks_after: so many bytes of an answer, the connection is closed; None: never.
        knows_ranges: whether it goes on where it is told to.
        asked: the Range headers that came, "" where there was none.
        address: of the server.
    """

    content: bytes
    breaks_after: int | None = None
    knows_ranges: bool = True
    asked: list[str] = field(default_factory=list)
    address: str = ""


@pytest.fixture
def files() -> Iterator[Files]:
    """Serve a file of a mebibyte on a free port."""
    files = Files(bytes(range(256)) * 4096)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range", "")
            files.asked.append(span)
            start = (
                int(span.removeprefix("bytes=").rstrip("-")) if span and files.knows_ranges else 0
            )
            if self.path.startswith("/moved/"):
                self.send_response(302)
                self.send_header("Location", self.path.removeprefix("/moved"))
                self.end_headers()
                return
            if self.path.endswith("missing.pt"):
                self.send_error(404)
                return
            if start >= len(files.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                last = len(files.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
            self.send_header("Content-Length", str(len(files.content) - start))
            self.end_headers()
            whole = files.content[start:]
            self.wfile.write(whole if files.breaks_after is None else whole[: files.breaks_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        files.address = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield files
        server.shutdown()
        thread.join()


Detector = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def detector(tmp_path: Path) -> Detector:
    """Run `detector models` as a user does, in a folder of its own."""

    def run(*arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("DETECTOR_") and not name.lower().endswith("_proxy")
        }
        return subprocess.run(
            [sys.executable, "-m", "crowd_detector.cli", "models", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=clean | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | variables,
            cwd=tmp_path,
            check=False,
        )

    return run
