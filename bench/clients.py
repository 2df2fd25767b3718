"""Clients without pause, for measurements of what they notice of restarts behind an address.

Each is a process of its own, so that none waits for another: it connects, sends a request, reads to the end, and
begins again. Every other request has a body. `Clients` starts them and adds up what they saw. Run as a program,
this file is one of them.
"""

import itertools
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time

BODY = b"x" * (8 << 10)
REQUESTS = [
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
]
REST = 0.001  # seconds after a failure: whoever is refused would ask too often to be counted


def exchange(address, request):
    """One exchange; how it failed, or `None`. A whole answer ends with a newline."""
    try:
        with socket.create_connection(address, timeout=60) as stream:
            stream.sendall(request)
            answer = b""
            while more := stream.recv(65536):
                answer += more
    except ConnectionRefusedError:
        return "refused"
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    except OSError:
        return "failed"
    bad = b" 502 " in answer[:16] or b" 503 " in answer[:16] or b" 504 " in answer[:16]
    return None if answer.endswith(b"\n") and not bad else "failed"


def client(host, port):
    """Asks until its standard input ends; then says what it saw."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    seen = {"refused": 0, "reset": 0, "failed": 0, "times": []}
    for request in itertools.cycle(REQUESTS):
        if ended.is_set():
            break
        began = time.monotonic_ns()
        failure = exchange((host, port), request)
        if failure is None:
            seen["times"].append(time.monotonic_ns() - began)
        else:
            seen[failure] += 1
            time.sleep(REST)
    json.dump(seen, sys.stdout)


class Clients:
    """So many clients of an address, for as long as the block lasts; `line` sums up what they saw."""

    def __init__(self, host, port, count=4):
        self.words = [sys.executable, str(pathlib.Path(__file__).resolve()), host, str(port)]
        self.count = count

    def __enter__(self):
        pipe = subprocess.PIPE
        self.running = [subprocess.Popen(self.words, stdin=pipe, stdout=pipe) for _ in range(self.count)]
        return self

    def __exit__(self, *_):
        for one in self.running:
            one.stdin.close()
            one.stdin = None
        seen = [json.loads(one.communicate()[0] or b"{}") for one in self.running]
        self.times = sorted(took / 1e6 for one in seen for took in one.get("times", []))
        self.refused, self.reset, self.failed = (
            sum(one.get(kind, 0) for one in seen) for kind in ("refused", "reset", "failed")
        )

    def line(self):
        """What they saw, in a line of the table that `HEAD` stands above."""
        times = self.times or [float("nan")]
        at = lambda part: times[min(len(times) - 1, int(len(times) * part))]
        return (
            f"{len(self.times):>9} {self.refused:>8} {self.reset:>6} {self.failed:>7}"
            f" {at(0.5):>9.2f} {at(0.99):>9.2f} {times[-1]:>9.2f}"
        )


HEAD = f"{'served':>9} {'refused':>8} {'reset':>6} {'failed':>7} {'p50 ms':>9} {'p99 ms':>9} {'max ms':>9}"

if __name__ == "__main__":
    client(sys.argv[1], int(sys.argv[2]))
