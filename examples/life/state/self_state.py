"""The self-state: what the life is like at this moment, and how it came to be so."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import Any

from environment.event import Event, Kind, now

VITALS = ("energy", "stability", "adaptation")  # each from 0 to 100
HISTORY = 300  # points kept of each vital, one a tick
MEMORY = 64  # impressions kept

# What an event of full intensity does to (energy, stability, adaptation). Edit a number, save, and watch
# the lines on the page take another course from where they are.
EFFECTS: dict[Kind, tuple[float, float, float]] = {
    Kind.FOOD: (+14.0, +2.0, +0.5),
    Kind.LIGHT: (+5.0, +3.0, +1.0),
    Kind.NOISE: (-3.0, -7.0, +2.0),
    Kind.THREAT: (-8.0, -14.0, +5.0),
    Kind.COMPANY: (+2.0, +8.0, +2.0),
    Kind.REST: (+10.0, +5.0, -1.0),
    Kind.THOUGHT: (-3.0, +1.0, +4.0),
    Kind.IMPULSE: (-6.0, -4.0, +3.0),
    Kind.DREAM: (+2.0, -3.0, +6.0),
}

METABOLISM = 0.04  # share of energy that living costs, a tick
CALM = 60.0  # where stability settles when nothing happens
FORGETTING = 0.02  # share of adaptation that is lost, a tick


class SelfState:
    """Energy, stability, adaptation, a memory, and a history of each vital."""

    def __init__(self) -> None:
        self.ticks = 0
        self.born = now()
        self.vitals = {"energy": 70.0, "stability": CALM, "adaptation": 20.0}
        self.memory: deque[dict[str, Any]] = deque(maxlen=MEMORY)
        self.history: dict[str, deque[float]] = {name: deque(maxlen=HISTORY) for name in VITALS}

    def tick(self) -> None:
        """One step of time: living costs energy, calm returns, what isn't used is forgotten."""
        self.ticks += 1
        self._add("energy", -self.vitals["energy"] * METABOLISM)
        self._add("stability", (CALM - self.vitals["stability"]) * 0.04)
        self._add("adaptation", -self.vitals["adaptation"] * FORGETTING)
        for name in VITALS:
            self.history[name].append(self.vitals[name])

    def apply(self, event: Event) -> dict[str, float]:
        """Lets an event change the vitals, remembers it, and returns what it changed by how much.

        What is familiar moves less: the larger its share of the memory, the weaker the effect.
        """
        strength = event.intensity * (1.0 - 0.6 * self._familiarity(event.kind))
        before = dict(self.vitals)
        for name, effect in zip(VITALS, EFFECTS[event.kind]):
            self._add(name, effect * strength)
        change = {name: round(self.vitals[name] - before[name], 2) for name in VITALS}
        self.memory.append({**event.to_json(), "tick": self.ticks, "change": change})
        return change

    def remembers(self, event_id: str) -> bool:
        """Whether this event has been applied lately: a second delivery of it counts for nothing."""
        return any(impression["id"] == event_id for impression in self.memory)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values that share nothing with this object."""
        return {
            **self.vitals,
            "ticks": self.ticks,
            "born": self.born,
            "memory": list(self.memory),
            "history": {name: list(points) for name, points in self.history.items()},
        }

    @classmethod
    def from_json(cls, raw: Any) -> SelfState:
        """The opposite of `to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        state = cls()
        state.ticks = int(raw["ticks"])
        state.born = str(raw["born"])
        state.vitals = {name: _vital(raw[name]) for name in VITALS}
        for impression in raw["memory"]:
            Kind(impression["kind"])
            state.memory.append({**impression, "id": str(impression["id"])})
        for name in VITALS:
            state.history[name].extend(_vital(point) for point in raw["history"][name])
        return state

    def _add(self, name: str, amount: float) -> None:
        self.vitals[name] = round(min(100.0, max(0.0, self.vitals[name] + amount)), 3)

    def _familiarity(self, kind: Kind) -> float:
        kinds = Counter(impression["kind"] for impression in self.memory)
        return kinds[kind.value] / len(self.memory) if self.memory else 0.0


def _vital(raw: Any) -> float:
    value = float(raw)
    if not math.isfinite(value) or not 0.0 <= value <= 100.0:
        raise ValueError(f"{value} is not between 0 and 100")
    return value
