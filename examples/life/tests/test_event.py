"""Events are read with care, and read back what was written."""

import unittest

from environment.event import EventError, Kind, Source, make, parse


class ParseTest(unittest.TestCase):
    def test_only_the_kind_is_required(self):
        event = parse({"kind": "food"})
        self.assertEqual(event.kind, Kind.FOOD)
        self.assertEqual(event.intensity, 0.5)
        self.assertTrue(event.id)
        self.assertTrue(event.timestamp.endswith("Z"))

    def test_what_is_written_reads_back_the_same(self):
        event = make(Kind.DREAM, intensity=0.25, about="rain")
        self.assertEqual(parse(event.to_json()), event)

    def test_each_kind_has_its_source(self):
        self.assertEqual(Kind.THREAT.source, Source.EXTERNAL)
        self.assertEqual(Kind.REST.source, Source.INTERNAL)

    def test_ids_differ(self):
        self.assertNotEqual(make(Kind.FOOD).id, make(Kind.FOOD).id)

    def test_intensity_is_brought_into_range(self):
        self.assertEqual(make(Kind.FOOD, intensity=7).intensity, 1.0)
        self.assertEqual(make(Kind.FOOD, intensity=10**400).intensity, 1.0)
        self.assertEqual(make(Kind.FOOD, intensity=-1).intensity, 0.0)

    def test_what_is_no_event_is_refused(self):
        for raw in (
            None,
            [],
            "food",
            {},
            {"kind": "fod"},
            {"kind": ["food"]},
            {"kind": "food", "source": "internal"},
            {"kind": "food", "data": []},
            {"kind": "food", "data": {"intensity": "much"}},
            {"kind": "food", "data": {"intensity": True}},
            {"kind": "food", "data": {"intensity": float("nan")}},
            {"kind": "food", "data": {"depth": float("inf")}},
            {"kind": "food", "data": {"text": "x" * 5000}},
            {"kind": "food", "id": 7},
            {"kind": "food", "id": "x" * 100},
        ):
            with self.subTest(raw=str(raw)[:60]), self.assertRaises(EventError):
                parse(raw)

    def test_the_refusal_names_what_is_known(self):
        with self.assertRaisesRegex(EventError, "fod.*food, light"):
            parse({"kind": "fod"})


if __name__ == "__main__":
    unittest.main()
