"""A stand-in of the Hugging Face hub: as much of its HTTP interface as fetching a snapshot uses."""

import hashlib
import http.server
import json
import re
import threading
from pathlib import Path
from urllib.parse import unquote

COMMIT = "1f" * 20


class Hub(http.server.ThreadingHTTPServer):
    """Serves folders as repositories of one commit on a port of its own.

    Attributes:
        repositories: name -> folder; None for a private one.
        fetched: paths of the files that were asked for, in order.
    """

    def __init__(self, repositories: dict[str, Path | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.fetched: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body):
        path = unquote(self.path.partition("?")[0])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._api(found[1], found[2] or "revision", found[3] or "main")
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups(), body)
        else:
            self._refuse(404, "EntryNotFound")

    def _folder(self, name, revision):
        """The folder of a repository at a revision; None where there is none, after an answer."""
        if name not in self.server.repositories:
            self._refuse(401, "RepoNotFound")  # the hub does not tell what is private from what is not there
        elif self.server.repositories[name] is None:
            self._refuse(403, "GatedRepo")
        elif revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            return self.server.repositories[name]
        return None

    def _api(self, name, what, revision):
        folder = self._folder(name, revision)
        if folder is None:
            return
        names = [p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*")) if p.is_file()]
        if what == "revision":
            self._json({"id": name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in names]})
        else:
            files = [(n, (folder / n).read_bytes()) for n in names]
            self._json(
                [{"type": "file", "path": n, "size": len(data), "oid": _etag(data)} for n, data in files]
            )

    def _file(self, name, revision, path, body):
        folder = self._folder(name, revision)
        if folder is None:
            return
        if not (folder / path).is_file():
            self._refuse(404, "EntryNotFound")
            return
        data = (folder / path).read_bytes()
        headers = {"ETag": f'"{_etag(data)}"', "X-Repo-Commit": COMMIT}
        self._send(200, data, "application/octet-stream", headers, body)
        if body:
            self.server.fetched.append(path)

    def _json(self, value):
        self._send(200, json.dumps(value).encode(), "application/json", {})

    def _refuse(self, code, error):
        self._send(code, b"{}", "application/json", {"X-Error-Code": error}, self.command == "GET")

    def _send(self, code, data, kind, headers, body=True):
        self.send_response(code)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


def _etag(data):
    return hashlib.sha1(data).hexdigest()
