"""`python -m server_bytes_wsgiref FD`: wsgiref's own server, on a socket that listens already."""

import socket
import sys
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from server_bytes_site import wsgi


class Quiet(WSGIRequestHandler):
    """Without a line for each request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    server = WSGIServer(("127.0.0.1", 0), Quiet, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(sys.argv[1]))
    server.server_name, server.server_port = "127.0.0.1", 80
    server.setup_environ()
    server.set_app(wsgi)
    server.serve_forever()
