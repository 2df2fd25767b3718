"""Events: what reaches the life from outside, and what arises within it."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from enum import Enum
from typing import Any, NamedTuple

MAX_DATA = 4096  # bytes of an event's data as JSON
MAX_ID = 64  # characters


class EventError(ValueError):
    """What was handed in is no event."""


class Source(Enum):
    """Where an event comes from."""

    EXTERNAL = "external"
    INTERNAL = "internal"


class Kind(Enum):
    """What happened. Each kind has one source."""

    FOOD = "food"
    LIGHT = "light"
    NOISE = "noise"
    THREAT = "threat"
    COMPANY = "company"
    REST = "rest"
    THOUGHT = "thought"
    IMPULSE = "impulse"
    DREAM = "dream"

    @property
    def source(self) -> Source:
        """Where events of this kind come from."""
        return Source.INTERNAL if self in _INTERNAL else Source.EXTERNAL


_INTERNAL = frozenset({Kind.REST, Kind.THOUGHT, Kind.IMPULSE, Kind.DREAM})


class Event(NamedTuple):
    """One thing that happened. The id makes a repeated delivery harmless."""

    id: str
    kind: Kind
    data: dict[str, Any]
    timestamp: str

    @property
    def intensity(self) -> float:
        """How strong it is, from 0 to 1."""
        return self.data["intensity"]

    def to_json(self) -> dict[str, Any]:
        """The event as it goes over the wire and into the restart file."""
        return {
            "id": self.id,
            "source": self.kind.source.value,
            "kind": self.kind.value,
            "data": self.data,
            "timestamp": self.timestamp,
        }


def make(kind: Kind, **data: Any) -> Event:
    """A new event that happens now."""
    return parse({"kind": kind.value, "data": data})


def parse(raw: Any) -> Event:
    """Reads an event; only `kind` is required. Raises EventError, which says what is wrong."""
    if not isinstance(raw, dict):
        raise EventError(f"an event is a JSON object, not {json.dumps(raw)[:40]}")
    kind = _kind(raw.get("kind"))
    if raw.get("source", kind.source.value) != kind.source.value:
        raise EventError(f"{kind.value} is an {kind.source.value} event")
    return Event(
        id=_text(raw, "id") or os.urandom(8).hex(),
        kind=kind,
        data=_data(raw.get("data", {})),
        timestamp=_text(raw, "timestamp") or now(),
    )


def now() -> str:
    """The time of day as RFC 3339, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _kind(raw: Any) -> Kind:
    try:
        return Kind(raw)
    except ValueError:
        known = ", ".join(kind.value for kind in Kind)
        raise EventError(f"`kind` is {json.dumps(raw)[:40]}; it must be one of {known}") from None


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_ID:
        raise EventError(f"`{key}` must be a string of at most {MAX_ID} characters")
    return value


def _data(raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise EventError("`data` must be a JSON object")
    try:
        size = len(json.dumps(raw, allow_nan=False))
    except ValueError:
        raise EventError("`data` must be JSON, which has no NaN or Infinity") from None
    if size > MAX_DATA:
        raise EventError(f"`data` must be at most {MAX_DATA} bytes of JSON")
    intensity = raw.get("intensity", 0.5)
    if isinstance(intensity, bool) or not isinstance(intensity, (int, float)):
        raise EventError("`data.intensity` must be a number from 0 to 1")
    return {**raw, "intensity": float(min(1, max(0, intensity)))}
