"""A model hub on this machine that serves one folder as one repository at one commit, and notes every request."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
REPOSITORY = "owner/model"


@dataclass
class Hub:
    """A hub that runs; `requests` are the paths asked for since the last `phase`."""

    url: str
    phases: dict[str, list[str]] = field(default_factory=lambda: {"": []})

    @property
    def current(self) -> list[str]:
        return self.phases[next(reversed(self.phases))]


@contextlib.contextmanager
def hub_of(folder: Path) -> Iterator[Hub]:
    """Serve a folder as `REPOSITORY` at `COMMIT`; everything else is not there. `GET /phase/<name>` begins a list of
    requests of its own."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(urlparse(self.path).path)
            if path.startswith("/phase/"):
                hub.phases[path.removeprefix("/phase/")] = []
                self._answer(200, b"{}")
                return
            hub.current.append(path)
            if path.startswith(f"/api/models/{REPOSITORY}/tree/{COMMIT}"):
                self._answer(200, json.dumps([_entry(folder, name) for name in _names(folder)]).encode())
            elif path == f"/api/models/{REPOSITORY}/revision/{COMMIT}":
                told = {"id": REPOSITORY, "sha": COMMIT, "siblings": [{"rfilename": name} for name in _names(folder)]}
                self._answer(200, json.dumps(told).encode())
            elif (file := self._file(path)) is not None:
                data = file.read_bytes()
                self._answer(200, data, ETag=f'"{hashlib.sha1(data).hexdigest()}"')
            else:
                self._answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})

        do_HEAD = do_POST = do_GET

        def _file(self, path: str) -> Path | None:
            name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
            return folder / name if name != path and (folder / name).is_file() else None

        def _answer(self, status: int, data: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), "X-Repo-Commit": COMMIT, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def _names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _entry(folder: Path, name: str) -> dict[str, object]:
    data = (folder / name).read_bytes()
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
