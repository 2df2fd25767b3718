"""The loop: a tick every second takes events from the queue and lets them change the self-state."""

from __future__ import annotations

import math
import threading
import time
import traceback
from typing import Any, Callable, NamedTuple

from environment.event import Event, now
from environment.event_queue import EventQueue
from runtime.journal import Journal
from state.self_state import SelfState

EVENTS_PER_TICK = 2  # the others wait
FIRST_TICK = 0.1  # seconds after the start, so that new code shows at once
STARTS = 50  # starts remembered


class Config(NamedTuple):
    """How the loop runs."""

    tick_interval: float = 1.0  # seconds
    snapshot_period: int = 10  # ticks from one save to the next

    @classmethod
    def from_json(cls, raw: Any) -> Config:
        """The opposite of `_asdict`. Raises KeyError, TypeError or ValueError on anything else."""
        config = cls(float(raw["tick_interval"]), int(raw["snapshot_period"]))
        if not 0.01 <= config.tick_interval <= 3600 or config.snapshot_period < 1:
            raise ValueError(f"{config} is out of range")
        return config


class Life(NamedTuple):
    """All that is carried across a restart."""

    self_state: SelfState
    queue: EventQueue
    journal: Journal
    config: Config
    starts: list[dict[str, int]]  # which incarnation began at which tick
    origin: dict[str, Any] | None  # what it was restored from; None: it began afresh

    @classmethod
    def begin(cls) -> Life:
        """A life that starts afresh."""
        return cls(SelfState(), EventQueue(), Journal(), Config(), [], None)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Life:
        """A life that goes on from a restart file. Raises KeyError, TypeError or ValueError."""
        marker = document["restart_marker"] is True
        origin = {"from": "restart" if marker else "snapshot", "timestamp": str(document["timestamp"])}
        starts = [{key: int(start[key]) for key in ("tick", "incarnation")} for start in document["starts"]]
        return cls(
            SelfState.from_json(document["self_state"]),
            EventQueue.from_json(document["event_queue"]),
            Journal.from_json(document["journal"]),
            Config.from_json(document["config"]),
            starts,
            origin,
        )

    def to_json(self, restart_marker: bool) -> dict[str, Any]:
        """The restart file's content; the marker tells an ordered stop from a save on the way."""
        return {
            "restart_marker": restart_marker,
            "timestamp": now(),
            "self_state": self.self_state.to_json(),
            "event_queue": self.queue.to_json(),
            "config": self.config._asdict(),
            "starts": self.starts[-STARTS:],
            "journal": self.journal.to_json(),
        }


class Loop:
    """Runs a life in a thread of its own."""

    def __init__(
        self, life: Life, save: Callable[[dict[str, Any]], None], crashed: Callable[[], None]
    ) -> None:
        """`save` stores a restart document, or raises OSError; `crashed` is called if a tick raises."""
        self.life = life
        self._save = save
        self._crashed = crashed
        self._lock = threading.Lock()  # events are either waiting or applied, for whoever looks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="loop")

    @property
    def alive(self) -> bool:
        """Whether ticks are to be expected."""
        return self._thread.is_alive() and not self._stop.is_set()

    def start(self, incarnation: int) -> None:
        """Starts to tick."""
        tick = self.life.self_state.ticks
        self.life.starts.append({"tick": tick, "incarnation": incarnation})
        self.life.journal.add("started", tick=tick, incarnation=incarnation, origin=self.life.origin)
        self._thread.start()

    def stop(self) -> None:
        """Refuses further events, waits for the tick that is under way, and saves. Raises OSError."""
        self.life.queue.close()
        self._stop.set()
        self._thread.join()
        self.life.journal.add("stopped", tick=self.life.self_state.ticks, waiting=len(self.life.queue))
        self._save(self.life.to_json(restart_marker=True))

    def accept(self, event: Event) -> bool:
        """Puts an event in the queue; False if it is known already. Raises QueueRefused."""
        with self._lock:
            fresh = not self.life.self_state.remembers(event.id) and self.life.queue.put(event)
        if fresh:
            self.life.journal.add("queued", event=event.to_json(), waiting=len(self.life.queue))
        return fresh

    def picture(self) -> dict[str, Any]:
        """The life as it is at one moment, for the API."""
        with self._lock:
            picture = self.life.to_json(restart_marker=False)
        del picture["restart_marker"]
        picture["seq"] = picture.pop("journal")["seq"]
        picture["origin"] = self.life.origin
        return picture

    def tick(self) -> None:
        """One step: time passes, and some of the waiting events take effect."""
        state, journal = self.life.self_state, self.life.journal
        with self._lock:
            applied = self._apply_waiting()
            state.tick()
            document = self._snapshot_if_due()
        for event, change in applied:
            journal.add("applied", event=event.to_json(), change=change)
        journal.add("tick", tick=state.ticks, waiting=len(self.life.queue), **state.vitals)
        if document:
            self._save_snapshot(document)

    def _apply_waiting(self) -> list[tuple[Event, dict[str, float]]]:
        applied = []
        while len(applied) < EVENTS_PER_TICK and (event := self.life.queue.take()):
            applied.append((event, self.life.self_state.apply(event)))
        return applied

    def _snapshot_if_due(self) -> dict[str, Any] | None:
        due = self.life.self_state.ticks % self.life.config.snapshot_period == 0
        return self.life.to_json(restart_marker=False) if due else None

    def _save_snapshot(self, document: dict[str, Any]) -> None:
        try:
            self._save(document)
        except OSError as error:
            print(f"the snapshot could not be saved, the next one is tried: {error}")

    def _run(self) -> None:
        interval = self.life.config.tick_interval
        due = time.monotonic() + min(FIRST_TICK, interval)
        self._save_snapshot(self.life.to_json(restart_marker=False))  # a crash from here on goes back to here
        try:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                self.tick()
                missed = math.floor(max(0.0, time.monotonic() - due) / interval)
                due += interval * (missed + 1)
        except Exception:
            traceback.print_exc()
            self._crashed()
