"""The loop lets waiting events take effect, and carries the life across a stop."""

import contextlib
import io
import json
import threading
import unittest

from environment.event import Kind, make
from environment.event_queue import QueueRefused
from runtime.journal import Journal
from runtime.loop import EVENTS_PER_TICK, Config, Life, Loop


class LoopTest(unittest.TestCase):
    def setUp(self):
        self.saved, self.crashed = [], threading.Event()

    def loop(self, life=None):
        life = life or Life.begin()._replace(config=Config(tick_interval=0.01, snapshot_period=4))
        return Loop(life, lambda saved: self.saved.append(json.loads(json.dumps(saved))), self.crashed.set)

    def test_a_tick_applies_some_events_and_the_others_wait(self):
        loop = self.loop()
        for _ in range(EVENTS_PER_TICK + 3):
            loop.accept(make(Kind.FOOD))
        loop.tick()
        self.assertEqual(len(loop.life.queue), 3)
        self.assertEqual(len(loop.life.self_state.memory), EVENTS_PER_TICK)

    def test_a_second_delivery_counts_for_nothing(self):
        loop, event = self.loop(), make(Kind.FOOD)
        self.assertTrue(loop.accept(event))
        self.assertFalse(loop.accept(event))
        loop.tick()
        self.assertFalse(loop.accept(event))
        self.assertEqual(len(loop.life.self_state.memory), 1)

    def test_it_saves_every_snapshot_period(self):
        loop = self.loop()
        for _ in range(9):
            loop.tick()
        self.assertEqual([document["self_state"]["ticks"] for document in self.saved], [4, 8])
        self.assertFalse(self.saved[0]["restart_marker"])

    def test_a_life_goes_on_where_it_was(self):
        loop = self.loop()
        for _ in range(7):
            loop.accept(make(Kind.NOISE))
        loop.start(1)
        loop.stop()
        before = self.saved[-1]
        self.assertTrue(before["restart_marker"])
        again = Life.from_json(before).to_json(restart_marker=True)
        for part in ("self_state", "event_queue", "config", "starts", "journal"):
            self.assertEqual(again[part], before[part], part)
        self.assertEqual(len(before["event_queue"]) + len(before["self_state"]["memory"]), 7)

    def test_what_comes_after_the_stop_is_refused(self):
        loop = self.loop()
        loop.start(1)
        loop.stop()
        with self.assertRaises(QueueRefused):
            loop.accept(make(Kind.FOOD))
        self.assertFalse(loop.alive)

    def test_a_save_that_fails_does_not_end_the_life(self):
        def fail(document):
            raise OSError("disk full")

        loop = Loop(Life.begin()._replace(config=Config(snapshot_period=1)), fail, self.crashed.set)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            loop.tick()
            loop.tick()
        self.assertEqual(loop.life.self_state.ticks, 2)
        self.assertIn("disk full", output.getvalue())

    def test_a_tick_that_raises_is_told(self):
        loop = self.loop()
        loop.tick = lambda: 1 / 0
        with contextlib.redirect_stderr(io.StringIO()) as output:
            loop.start(1)
            self.assertTrue(self.crashed.wait(10))
        self.assertIn("ZeroDivisionError", output.getvalue())


class JournalTest(unittest.TestCase):
    def read(self, journal, after):
        journal.close()
        return [record["seq"] for record in journal.follow(after)]

    def filled(self):
        journal = Journal()
        for what in "abc":
            journal.add(what)
        return journal

    def test_a_follower_gets_what_came_after(self):
        self.assertEqual(self.read(self.filled(), 1), [2, 3])
        self.assertEqual(self.read(self.filled(), 0), [1, 2, 3])
        self.assertEqual(self.read(self.filled(), None), [])

    def test_numbers_go_on_after_a_restart(self):
        journal = Journal.from_json(self.filled().to_json())
        journal.add("d")
        self.assertEqual(self.read(journal, 2), [3, 4])

    def test_a_number_from_the_future_begins_with_this_run(self):
        journal = Journal.from_json(self.filled().to_json())
        journal.add("d")
        self.assertEqual(self.read(journal, 99), [4])

    def test_a_follower_is_woken_and_hears_silence(self):
        journal = Journal()
        following = journal.follow(0, beat=0.01)
        self.assertIsNone(next(following))
        journal.add("a")
        self.assertEqual(next(following)["what"], "a")


if __name__ == "__main__":
    unittest.main()
