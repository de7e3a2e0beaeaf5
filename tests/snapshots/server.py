"""A web server on this machine, for the tests of downloads."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What it serves under `url`: path -> content; `cut`: claims more bytes than it sends; `delay`: seconds before it answers;
    `asked`: paths in order."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    content_type: str = "application/octet-stream"
    cut: bool = False
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)


@contextmanager
def serve() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            site.asked.append(self.path)
            time.sleep(site.delay)
            content = site.files.get(self.path.split("?")[0])
            if content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Type", site.content_type)
            self.send_header("Content-Length", str(len(content) + site.cut))
            self.end_headers()
            with suppress(ConnectionError):  # of a client that has seen enough
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
