"""The self-state moves within its bounds, remembers, and reads back what was written."""

import json
import random
import unittest

from environment.event import Kind, make
from state.self_state import HISTORY, MEMORY, VITALS, SelfState


def lived(ticks=20):
    """A state that has seen a little of everything."""
    chance, state = random.Random(7), SelfState()
    for _ in range(ticks):
        state.apply(make(chance.choice(list(Kind)), intensity=chance.random()))
        state.tick()
    return state


class SelfStateTest(unittest.TestCase):
    def test_food_gives_energy_and_a_threat_takes_stability(self):
        state = SelfState()
        self.assertGreater(state.apply(make(Kind.FOOD))["energy"], 0)
        self.assertLess(state.apply(make(Kind.THREAT))["stability"], 0)

    def test_every_kind_has_an_effect(self):
        for kind in Kind:
            self.assertTrue(any(SelfState().apply(make(kind, intensity=1)).values()), kind)

    def test_living_costs_energy(self):
        state = SelfState()
        before = state.vitals["energy"]
        state.tick()
        self.assertLess(state.vitals["energy"], before)

    def test_the_familiar_moves_less(self):
        state = SelfState()
        first = state.apply(make(Kind.NOISE))["stability"]
        second = state.apply(make(Kind.NOISE))["stability"]
        self.assertLess(abs(second), abs(first))

    def test_vitals_stay_between_0_and_100(self):
        for kind in (Kind.FOOD, Kind.THREAT):
            state = SelfState()
            for _ in range(500):
                state.apply(make(kind, intensity=1))
                state.tick()
            for name in VITALS:
                self.assertTrue(all(0 <= point <= 100 for point in state.history[name]), name)

    def test_memory_and_histories_are_bounded(self):
        state = lived(HISTORY + 50)
        self.assertEqual(len(state.memory), MEMORY)
        for name in VITALS:
            self.assertEqual(len(state.history[name]), HISTORY)
            self.assertEqual(state.history[name][-1], state.vitals[name])

    def test_an_applied_event_is_remembered(self):
        state, event = SelfState(), make(Kind.FOOD)
        self.assertFalse(state.remembers(event.id))
        state.apply(event)
        self.assertTrue(state.remembers(event.id))

    def test_json_round_trip(self):
        state = lived()
        written = json.loads(json.dumps(state.to_json()))
        self.assertEqual(SelfState.from_json(written).to_json(), state.to_json())

    def test_what_is_written_does_not_change_afterwards(self):
        state = lived()
        written = state.to_json()
        text = json.dumps(written)
        state.apply(make(Kind.FOOD))
        state.tick()
        self.assertEqual(json.dumps(written), text)

    def test_values_out_of_range_are_refused(self):
        for value in (-1, 101, float("nan"), "much", None):
            with self.subTest(value=value), self.assertRaises((TypeError, ValueError)):
                SelfState.from_json({**lived().to_json(), "energy": value})


if __name__ == "__main__":
    unittest.main()
