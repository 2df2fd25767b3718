"""The console monitor: follows the runtime's stream and prints what happens.

When the runtime restarts, it connects again and goes on after the last record that it has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from http.client import HTTPConnection, HTTPException
from typing import Any, Iterator

from state import restart_file

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
RETRY = 0.1  # seconds from one try to the next
SILENCE = 15.0  # seconds; the runtime sends an empty line every 5
BLOCKS = "▁▂▃▄▅▆▇█"


class Console:
    """Prints each record once."""

    def __init__(self, port: int, after: int | None) -> None:
        self.after = after  # the last record seen; None: none yet
        self._port = port
        self._stop = threading.Event()

    def run(self) -> None:
        """Follows the stream until it is stopped, however often the connection ends."""
        connected = True
        while not self._stop.is_set():
            try:
                for record in self._stream():
                    connected = True
                    self.show(record)
            except (OSError, HTTPException, ValueError) as error:
                if connected:
                    print(f"the runtime is away ({type(error).__name__}); the stream goes on when it is back")
                connected = False
            self._stop.wait(RETRY)

    def stop(self) -> None:
        """Connects no more."""
        self._stop.set()

    def show(self, record: dict[str, Any]) -> None:
        """Prints a record, and what is wrong with its number."""
        seq = record["seq"]
        if self.after is not None and seq > self.after + 1:
            print(f"  … {seq - self.after - 1} records were missed")
        if self.after is not None and seq <= self.after:
            print(f"  … the runtime went back to an older state, from record {self.after} to {seq}")
        print(f"{seq:>6}  {describe(record)}")
        self.after = seq

    def _stream(self) -> Iterator[dict[str, Any]]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=SILENCE)
        try:
            connection.request("GET", "/stream" if self.after is None else f"/stream?after={self.after}")
            response = connection.getresponse()
            if response.status != 200:
                raise HTTPException(f"status {response.status}")
            print("connected" + (f", going on after record {self.after}" if self.after is not None else ""))
            while line := response.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            connection.close()


def describe(record: dict[str, Any]) -> str:
    """A record as one line for people."""
    what = record["what"]
    if what == "tick":
        vitals = "   ".join(f"{name} {bar(record[name])} {record[name]:5.1f}" for name in VITALS)
        return f"tick {record['tick']:<6} {vitals}   waiting {record['waiting']}"
    if what == "queued":
        return f"  + {_event(record['event'])} waits"
    if what == "applied":
        changes = ", ".join(f"{name} {amount:+.1f}" for name, amount in record["change"].items() if amount)
        return f"  * {_event(record['event'])}: {changes or 'nothing changes'}"
    if what == "started":
        origin = record["origin"]
        how = f"goes on from the {origin['from']} of {origin['timestamp']}" if origin else "begins afresh"
        return f"incarnation {record['incarnation']} {how}, at tick {record['tick']}"
    if what == "stopped":
        return f"stopped in order at tick {record['tick']}, {record['waiting']} events waiting"
    return json.dumps(record)


VITALS = ("energy", "stability", "adaptation")


def bar(value: float) -> str:
    """A value from 0 to 100 as one block character."""
    return BLOCKS[min(len(BLOCKS) - 1, max(0, int(value * len(BLOCKS) / 100)))]


def _event(event: dict[str, Any]) -> str:
    return f"{event['kind']} {event['data']['intensity']:.2f} ({event['source']})"


def main() -> int:
    """Runs until a signal to stop; returns the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # before any thread: only `sigwait` takes them
    sys.stdout.reconfigure(errors="replace", line_buffering=True)
    parser = argparse.ArgumentParser(description="Prints what happens in the runtime.")
    parser.add_argument("--port", type=int, default=os.environ.get("LIFE_PORT") or 8765, help="default: 8765")
    options = parser.parse_args()
    path = os.environ.get("ORCH_STATE_FILE")
    console = Console(options.port, load(path))
    threading.Thread(target=console.run, daemon=True).start()
    signal.sigwait(STOP_SIGNALS)
    console.stop()
    if path and console.after is not None:
        restart_file.save(path, {"after": console.after})
    return 0


def load(path: str | None) -> int | None:
    """The last record that the run before has seen."""
    try:
        return restart_file.load(path, lambda document: int(document["after"])) if path else None
    except restart_file.DamagedState as error:
        print(f"the state file {path} is passed over: {error}", file=sys.stderr)
        return None


if __name__ == "__main__":
    sys.exit(main())
