"""The journal: numbered records of what happened, which others follow."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Iterator

from environment.event import now

KEPT = 400  # records

Record = dict  # {"seq", "time", "what", …}


class Journal:
    """Records with sequence numbers that go on over restarts, for any number of followers."""

    def __init__(self, seq: int = 0, records: list[Record] | None = None) -> None:
        self.seq = seq
        self._began = seq
        self._records: deque[Record] = deque(records or [], maxlen=KEPT)
        self._closed = False
        self._changed = threading.Condition()

    def add(self, what: str, **fields: Any) -> None:
        """Appends a record and wakes the followers."""
        with self._changed:
            self.seq += 1
            self._records.append({"seq": self.seq, "time": now(), "what": what, **fields})
            self._changed.notify_all()

    def close(self) -> None:
        """Lets every follower read to the end and leave."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def follow(self, after: int | None, beat: float = 5.0) -> Iterator[Record | None]:
        """The records after that number, then each new one, until the journal is closed.

        Yields None when nothing has happened for `beat` seconds. Without a number it begins now. A number
        from the future was given out by a run that crashed and went back to a snapshot: then it begins
        where this run began.
        """
        with self._changed:
            seen = self.seq if after is None else self._began if after > self.seq else after
        while True:
            with self._changed:
                if self.seq <= seen and not self._closed:
                    self._changed.wait(beat)
                fresh = [record for record in self._records if record["seq"] > seen]
                closed = self._closed
            yield from fresh
            if fresh:
                seen = fresh[-1]["seq"]
            elif closed:
                return
            else:
                yield None

    def to_json(self) -> dict[str, Any]:
        """The number reached and the records kept."""
        with self._changed:
            return {"seq": self.seq, "records": list(self._records)}

    @classmethod
    def from_json(cls, raw: Any) -> Journal:
        """The opposite of `to_json`. Raises KeyError, TypeError or ValueError on anything else."""
        records = [{**record, "seq": int(record["seq"])} for record in raw["records"]]
        return cls(int(raw["seq"]), records)
