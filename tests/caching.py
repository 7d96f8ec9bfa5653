"""A caching proxy before a site: nginx, configured as people configure it.

with cached(middleware, wsgi=False) as front:
    visitor = Visitor(middleware, front)            # drive.py's little browser, whose requests go through nginx
    front.stored()                                  # the bytes of everything nginx has kept
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from browser import missing
from drive import PATIENCE, Call, Reply, Webhook

from reve_middleware.sandbox.serving import serve_asgi, serve_wsgi

AS_USUAL = ""
THE_WRONG_WAY = "proxy_ignore_headers Cache-Control Expires Set-Cookie Vary X-Accel-Expires;"
"""What advice on the web says where "nginx does not cache my pages"."""
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1:2 keys_zone=site:1m max_size=50m inactive=60m use_temp_path=off;
  server {{
    listen unix:{folder}/socket;
    location / {{
      proxy_pass {site};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto https;
      proxy_cache site;
      proxy_cache_valid 200 301 302 10m;
      proxy_cache_valid 404 1m;
      proxy_cache_use_stale error timeout updating;
      proxy_cache_lock on;
      add_header X-Cache $upstream_cache_status always;
      {more}
    }}
  }}
}}
"""


def executable() -> str:
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))
    return shutil.which("nginx", path=path) or missing("nginx: apt-get install nginx-light")


class Front:
    """nginx, as a shell of drive.py's: `call` sends a request through it."""

    def __init__(self, folder: Path, webhook: Webhook) -> None:
        self._folder = folder
        self.webhook = webhook
        self._line = _Line(str(folder / "socket"))

    def call(self, _: Any, call: Call) -> Reply:
        headers = [(name, value) for name, value in call.headers if name.lower() != "content-length"]
        self._line.putrequest(call.method, call.path, skip_host=True, skip_accept_encoding=True)
        for name, value in [*headers, ("Content-Length", str(len(call.body)))]:
            self._line.putheader(name, value)
        self._line.endheaders(call.body)
        answer = self._line.getresponse()
        body = answer.read()
        found = [(name.lower(), value) for name, value in answer.getheaders()]
        return Reply(answer.status, found, body, [body], answer)

    def stored(self) -> list[bytes]:
        return [path.read_bytes() for path in (self._folder / "cache").rglob("*") if path.is_file()]

    def close(self) -> None:
        self._line.close()


class _Line(HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("nginx", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


@contextmanager
def cached(middleware: Any, webhook: Webhook, *, wsgi: bool, more: str = AS_USUAL) -> Iterator[Front]:
    """The site behind nginx; `more`: lines of its `location`."""
    program = executable()
    with (
        (serve_wsgi if wsgi else serve_asgi)(middleware) as site,
        tempfile.TemporaryDirectory(prefix="cache-", dir="/tmp") as name,
    ):
        folder = Path(name)
        (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, site=site, more=more))
        command = [program, "-p", name, "-c", f"{name}/nginx.conf", "-e", f"{name}/error.log"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            _wait_until_open(process, folder)
            front = Front(folder, webhook)
            yield front
            front.close()
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _wait_until_open(process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, (folder / "error.log").read_text()
        with socket.socket(socket.AF_UNIX) as line:
            try:
                return line.connect(str(folder / "socket"))
            except OSError:
                assert time.monotonic() < until, "nginx does not listen"
        time.sleep(0.01)
