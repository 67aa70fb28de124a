"""A local stand-in for the hub: the few addresses of its API that a download asks for, and ways
to fail.
"""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


class _Handler(BaseHTTPRequestHandler):
    """Answers for the hub that its server has."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        path = unquote(urlsplit(self.path).path)
        if path.startswith(f"/api/models/{self.server.hub.repo}/tree/"):
            self.send_json([self.server.hub.entry(name) for name in sorted(self.server.hub.files)])
        elif path.startswith(f"/api/models/{self.server.hub.repo}"):
            siblings = [{"rfilename": name} for name in self.server.hub.files]
            self.send_json(
                {
                    "id": self.server.hub.repo,
                    "sha": COMMIT,
                    "siblings": siblings,
                    "private": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                }
            )
        elif path.startswith(f"/{self.server.hub.repo}/resolve/"):
            self.send_file(path.split("/", 5)[5], body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def send_json(self, data):
        text = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def send_file(self, name, body):
        if name not in self.server.hub.files:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.server.hub.files[name]
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not body:
            return
        self.server.hub.asked.append(name)
        if name == self.server.hub.fail_at:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(data)


class Hub:
    """Serves ``files`` (name -> bytes) as the repository ``repo``. ``asked``: names of the files
    that were sent.

    ``fail_at``: the file in whose middle the connection breaks.
    """

    def __init__(self, repo, files):
        self.repo, self.files, self.asked, self.fail_at = repo, dict(files), [], None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.hub = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def entry(self, name):
        data = self.files[name]
        return {
            "type": "file",
            "path": name,
            "size": len(data),
            "oid": hashlib.sha1(data).hexdigest(),
        }

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
