"""The queue keeps order, takes nothing twice, and refuses when it must."""

import threading
import unittest

from environment.event import Kind, make
from environment.event_queue import EventQueue, QueueRefused


class EventQueueTest(unittest.TestCase):
    def test_first_in_first_out(self):
        queue, events = EventQueue(), [make(Kind.FOOD), make(Kind.NOISE), make(Kind.REST)]
        for event in events:
            self.assertTrue(queue.put(event))
        self.assertEqual([queue.take() for _ in range(4)], [*events, None])

    def test_an_event_that_waits_is_not_taken_twice(self):
        queue, event = EventQueue(), make(Kind.FOOD)
        self.assertTrue(queue.put(event))
        self.assertFalse(queue.put(event))
        self.assertEqual(len(queue), 1)

    def test_full_and_closed_refuse_and_keep_what_waits(self):
        queue = EventQueue([make(Kind.FOOD)], limit=1)
        with self.assertRaises(QueueRefused):
            queue.put(make(Kind.NOISE))
        queue.close()
        queue.take()
        with self.assertRaises(QueueRefused):
            queue.put(make(Kind.NOISE))

    def test_json_round_trip(self):
        queue = EventQueue([make(Kind.FOOD, intensity=0.1), make(Kind.DREAM)])
        again = EventQueue.from_json(queue.to_json())
        self.assertEqual(again.to_json(), queue.to_json())

    def test_what_is_no_queue_is_refused(self):
        for raw in (None, {}, "x", [{}], [{"kind": "fod"}]):
            with self.subTest(raw=raw), self.assertRaises((TypeError, ValueError)):
                EventQueue.from_json(raw)

    def test_nothing_is_lost_between_threads(self):
        queue, taken = EventQueue(limit=10_000), []

        def put():
            for _ in range(200):
                queue.put(make(Kind.FOOD))

        threads = [threading.Thread(target=put) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(taken) < 800 and (any(thread.is_alive() for thread in threads) or len(queue)):
            if event := queue.take():
                taken.append(event.id)
        for thread in threads:
            thread.join()
        self.assertEqual(len(set(taken)), 800)


if __name__ == "__main__":
    unittest.main()
