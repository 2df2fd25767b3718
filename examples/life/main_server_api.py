"""The runtime: a small life that ticks, an HTTP API to it, and a page that shows it.

    GET  /          the page
    GET  /health    200 while it lives
    GET  /state     everything, as JSON
    GET  /stream    what happens, as NDJSON without end; ?after=N goes on after record N
    POST /events    one event, or a list of them; known ids are not taken twice

On SIGTERM or SIGINT it stops in order, saves its restart file, and ends with 0. When it starts, it loads
that file if it is there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from environment.event import EventError, parse
from environment.event_queue import QueueRefused
from runtime.loop import Config, Life, Loop
from state import restart_file

HERE = os.path.dirname(os.path.abspath(__file__))
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
MAX_BODY = 64 * 1024  # bytes of a POST


class ApiServer(ThreadingHTTPServer):
    """Serves one life on the loopback interface."""

    daemon_threads = True

    def __init__(self, port: int, loop: Loop, identity: dict[str, Any], page: bytes) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.loop = loop
        self.identity = identity
        self.page = page
        self.began = time.monotonic()

    def server_bind(self) -> None:
        """Binds without the look-up of the host's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: ApiServer
    timeout = 10

    def do_GET(self) -> None:
        """The page, and all that is only looked at."""
        url = urlsplit(self.path)
        if url.path == "/":
            self._send(200, "text/html; charset=utf-8", self.server.page)
        elif url.path == "/health":
            alive = self.server.loop.alive
            self._json(200 if alive else 503, {"alive": alive})
        elif url.path == "/state":
            uptime = round(time.monotonic() - self.server.began, 3)
            self._json(200, {**self.server.identity, "uptime": uptime, **self.server.loop.picture()})
        elif url.path == "/stream":
            self._stream(parse_qs(url.query).get("after", [""])[0])
        else:
            self._json(404, {"error": f"there is no {url.path}"})

    def do_POST(self) -> None:
        """Takes events."""
        if urlsplit(self.path).path != "/events":
            return self._json(404, {"error": "events go to /events"})
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return self._json(413, {"error": f"a body of at most {MAX_BODY} bytes is needed"})
        try:
            body = json.loads(self.rfile.read(int(length)))
            events = [parse(item) for item in (body if isinstance(body, list) else [body])]
            fresh = sum(self.server.loop.accept(event) for event in events)
        except EventError as error:
            return self._json(400, {"error": str(error)})
        except (ValueError, RecursionError) as error:
            return self._json(400, {"error": f"the body is not JSON: {error}"})
        except QueueRefused as error:
            return self._json(503, {"error": str(error)})
        self._json(202, {"accepted": fresh, "known": len(events) - fresh})

    def _stream(self, after: str) -> None:
        if after and not after.isdecimal():
            return self._json(400, {"error": "`after` must be a record's number"})
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        for record in self.server.loop.life.journal.follow(int(after) if after else None):
            line = json.dumps(record) if record else ""  # an empty line tells that the connection stands
            self.wfile.write(f"{line}\n".encode())

    def _json(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(document).encode() + b"\n")

    def _send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: probes and pages ask all the time."""


def main() -> int:
    """Runs until a signal to stop; returns the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before any thread: only `sigwait` takes them
    sys.stdout.reconfigure(line_buffering=True)
    options = read_options()
    life = configured(load_life(options.state, options.restart), options)
    crash = threading.Event()

    def crashed() -> None:
        crash.set()
        os.kill(os.getpid(), signal.SIGTERM)

    loop = Loop(life, lambda document: restart_file.save(options.state, document), crashed)
    page = read_page()
    try:
        server = ApiServer(options.port, loop, identity(page), page)
    except OSError as error:
        print(f"port {options.port} of 127.0.0.1 can't be listened on: {error.strerror}", file=sys.stderr)
        return 1
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), name="http")
    loop.start(server.identity["incarnation"])
    serving.start()
    print(f"the life is at http://127.0.0.1:{server.server_port}/")
    signal.sigwait(STOP_SIGNALS)
    server.shutdown()
    serving.join()
    return 1 if crash.is_set() else stop(loop, options.state)


def stop(loop: Loop, path: str) -> int:
    """Joins the loop and saves; returns the exit code."""
    try:
        loop.stop()
    except OSError as error:
        print(f"the state could not be saved to {path}: {error}", file=sys.stderr)
        return 1
    finally:
        loop.life.journal.close()
    print(f"stopped at tick {loop.life.self_state.ticks}, {len(loop.life.queue)} events waiting")
    return 0


def load_life(path: str, expected: bool) -> Life:
    """The life that the restart file holds, else a new one."""
    try:
        life = restart_file.load(path, Life.from_json)
    except restart_file.DamagedState as error:
        print(f"the restart file {path} is passed over: {error}", file=sys.stderr)
        return Life.begin()
    if life is None:
        if expected:
            print(f"--restart was given, but there is no {path}; it starts afresh", file=sys.stderr)
        return Life.begin()
    state = life.self_state
    energy = state.vitals["energy"]
    print(f"goes on at tick {state.ticks}, energy {energy:.1f}, {len(life.queue)} events waiting")
    return life


def configured(life: Life, options: argparse.Namespace) -> Life:
    """The command line has the last word on the configuration; else it is carried over."""
    given = {name: getattr(options, name) for name in Config._fields if getattr(options, name) is not None}
    try:
        return life._replace(config=Config.from_json({**life.config._asdict(), **given}))
    except ValueError as error:
        sys.exit(f"main_server_api.py: {error}")


def read_options() -> argparse.Namespace:
    """The command line; the environment has the defaults."""
    state = os.environ.get("ORCH_STATE_FILE") or os.path.join(HERE, "data", "restart_state.json")
    parser = argparse.ArgumentParser(description="A small life, with an HTTP API and a page.")
    parser.add_argument("--port", type=int, default=os.environ.get("LIFE_PORT") or 8765, help="default: 8765")
    parser.add_argument("--state", default=state, metavar="FILE", help=f"the restart file (default: {state})")
    parser.add_argument("--restart", action="store_true", help="say so if there is no restart file")
    parser.add_argument("--tick-interval", type=float, metavar="SECONDS", help="default: 1, or as it was")
    parser.add_argument("--snapshot-period", type=int, metavar="TICKS", help="default: 10, or as it was")
    return parser.parse_args()


def read_page() -> bytes:
    """The page, as it is sent."""
    with open(os.path.join(HERE, "page.html"), "rb") as file:
        return file.read()


def identity(page: bytes) -> dict[str, Any]:
    """What stays the same for the life of this process: who runs, and which code."""
    incarnation = os.environ.get("ORCH_INCARNATION", "")
    return {
        "incarnation": int(incarnation) if incarnation.isdecimal() else 1,
        "pid": os.getpid(),
        "restored": os.environ.get("ORCH_RESTORED"),
        "code": code_version(),
        "page": f"{zlib.crc32(page):08x}",
    }


def code_version() -> str:
    """A checksum of the source files that this process has loaded."""
    files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
    checksum = 0
    for path in sorted(path for path in files if path.startswith(HERE + os.sep)):
        with open(path, "rb") as file:
            checksum = zlib.crc32(file.read(), checksum)
    return f"{checksum:08x}"


if __name__ == "__main__":
    sys.exit(main())
