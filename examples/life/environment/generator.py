"""The generator: makes events at random and posts them to the runtime.

An event that could not be delivered is held and tried again, over a restart of the runtime, and over one
of the generator itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

from environment.event import Event, Kind, make, parse
from state import restart_file

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RETRY = 0.1  # seconds from one try to the next
PACE = 0.9  # seconds from one event to the next, on average
BURST = 0.06  # the chance that an event comes with several others

WEIGHTS = {
    Kind.FOOD: 10,
    Kind.LIGHT: 8,
    Kind.NOISE: 5,
    Kind.THREAT: 2,
    Kind.COMPANY: 6,
    Kind.REST: 7,
    Kind.THOUGHT: 5,
    Kind.IMPULSE: 3,
    Kind.DREAM: 3,
}


class Generator:
    """Makes events, and holds each until it is delivered."""

    def __init__(self, port: int, pending: list[Event], made: int) -> None:
        self.pending = pending  # the oldest first; the first is the one being delivered
        self.made = made
        self._port = port
        self._stop = threading.Event()
        self._lock = threading.Lock()

    def run(self) -> None:
        """Makes and delivers events until it is stopped."""
        while not self._stop.is_set():
            if not self.pending:
                self._make()
            self._deliver()
            if not self.pending:
                self._stop.wait(random.uniform(0.3, 1.7) * PACE)

    def stop(self) -> dict[str, Any]:
        """Makes no more events; returns what is to be carried over to the next run."""
        self._stop.set()
        with self._lock:
            return {"pending": [event.to_json() for event in self.pending], "made": self.made}

    def _make(self) -> None:
        count = random.randint(3, 6) if random.random() < BURST else 1
        kinds = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
        events = [make(kind, intensity=round(random.betavariate(2.5, 2), 2)) for kind in kinds]
        with self._lock:
            self.pending.extend(events)
            self.made += count

    def _deliver(self) -> None:
        """Posts all that is pending, trying again until each is taken."""
        held_since = None
        while self.pending and not self._stop.is_set():
            status, answer = self._post(self.pending[0])
            if status == 202:
                self._drop_first()
            elif status == 400:
                print(f"the runtime refused {self.pending[0].kind.value}: {answer}", file=sys.stderr)
                self._drop_first()
            else:
                if held_since is None:
                    held_since = time.monotonic()
                    print(f"the runtime is away ({answer}); holding {self.pending[0].kind.value}")
                self._stop.wait(RETRY)
                continue
            if held_since is not None:
                print(f"the runtime is back after {time.monotonic() - held_since:.1f} s; nothing was lost")
                held_since = None

    def _drop_first(self) -> None:
        with self._lock:
            self.pending.pop(0)

    def _post(self, event: Event) -> tuple[int, str]:
        """The status and what the runtime said; 0 and the reason when it could not be reached."""
        connection = HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("POST", "/events", json.dumps(event.to_json()))
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace").strip()
        except (OSError, HTTPException) as error:
            return 0, getattr(error, "strerror", None) or type(error).__name__
        finally:
            connection.close()


def main() -> int:
    """Runs until a signal to stop; returns the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before any thread: only `sigwait` takes them
    sys.stdout.reconfigure(line_buffering=True)
    parser = argparse.ArgumentParser(description="Makes events and posts them to the runtime.")
    parser.add_argument("--port", type=int, default=os.environ.get("LIFE_PORT") or 8765, help="default: 8765")
    options = parser.parse_args()
    path = os.environ.get("ORCH_STATE_FILE")
    pending, made = load(path)
    generator = Generator(options.port, pending, made)
    thread = threading.Thread(target=generator.run, daemon=True)
    thread.start()
    print(f"generating events; {made} made so far, {len(pending)} to deliver")
    signal.sigwait(STOP_SIGNALS)
    carried = generator.stop()
    if path:
        restart_file.save(path, carried)
    return 0


def load(path: str | None) -> tuple[list[Event], int]:
    """What the last run left undelivered, and how many events were made in all."""

    def read(document: dict[str, Any]) -> tuple[list[Event], int]:
        return [parse(item) for item in document["pending"]], int(document["made"])

    try:
        return (path and restart_file.load(path, read)) or ([], 0)
    except restart_file.DamagedState as error:
        print(f"the state file {path} is passed over: {error}", file=sys.stderr)
        return [], 0


if __name__ == "__main__":
    sys.exit(main())
