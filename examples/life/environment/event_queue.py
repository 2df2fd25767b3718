"""The queue in which events wait for the loop."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Iterable

from environment.event import Event, parse


class QueueRefused(Exception):
    """The queue takes nothing now: it is full, or closed for the stop. Try again later."""


class EventQueue:
    """First in, first out, bounded, and safe to use from any thread."""

    def __init__(self, waiting: Iterable[Event] = (), limit: int = 1000) -> None:
        self._waiting = deque(waiting)
        self._limit = limit
        self._closed = False
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, event: Event) -> bool:
        """Adds the event; False if it waits already. Raises QueueRefused when full or closed."""
        with self._lock:
            if self._closed:
                raise QueueRefused("the runtime is stopping")
            if any(event.id == other.id for other in self._waiting):
                return False
            if len(self._waiting) >= self._limit:
                raise QueueRefused(f"{self._limit} events are waiting already")
            self._waiting.append(event)
            return True

    def take(self) -> Event | None:
        """Removes and returns the oldest event; None when nothing waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """From here on `put` refuses, so what was accepted is what gets saved."""
        with self._lock:
            self._closed = True

    def to_json(self) -> list[dict[str, Any]]:
        """The waiting events, oldest first."""
        with self._lock:
            return [event.to_json() for event in self._waiting]

    @classmethod
    def from_json(cls, raw: Any) -> EventQueue:
        """The opposite of `to_json`. Raises EventError or TypeError on anything else."""
        if not isinstance(raw, list):
            raise TypeError("`event_queue` must be a list")
        return cls(parse(item) for item in raw)
