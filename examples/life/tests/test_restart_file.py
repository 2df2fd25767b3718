"""The restart file is there whole or as it was; what is damaged is named, and never a crash."""

import json
import os
import tempfile
import unittest
from unittest import mock

from runtime.loop import Life
from state import restart_file
from state.restart_file import DamagedState


class InAFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.path = os.path.join(folder.name, "data", "state.json")

    def write(self, content):
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(self.path, "wb") as file:
            file.write(content)


class RestartFileTest(InAFolder):
    def load(self):
        return restart_file.load(self.path, lambda document: document)

    def test_a_missing_file_is_none(self):
        self.assertIsNone(self.load())

    def test_what_is_saved_is_loaded_and_nothing_else_is_left(self):
        restart_file.save(self.path, {"a": 1})
        self.assertEqual(self.load(), {"version": restart_file.VERSION, "a": 1})
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["state.json"])

    def test_the_file_is_replaced_not_written_over(self):
        restart_file.save(self.path, {"a": 1})
        with open(self.path, "rb") as old:
            restart_file.save(self.path, {"a": 2})
            self.assertEqual(json.load(old)["a"], 1)
        self.assertEqual(self.load()["a"], 2)

    def test_it_is_on_disk_before_it_gets_its_name(self):
        order = mock.Mock()
        with mock.patch("os.fsync", order.fsync), mock.patch("os.replace", order.replace):
            restart_file.save(self.path, {"a": 1})
        self.assertEqual([call[0] for call in order.mock_calls], ["fsync", "replace"])

    def test_a_save_that_fails_leaves_the_old_file(self):
        restart_file.save(self.path, {"a": 1})
        for broken in ("os.fsync", "os.replace"):
            with self.subTest(broken), mock.patch(broken, side_effect=OSError("disk full")):
                with self.assertRaises(OSError):
                    restart_file.save(self.path, {"a": 2})
            self.assertEqual(self.load()["a"], 1)
        with self.assertRaises(TypeError):
            restart_file.save(self.path, {"a": object()})
        self.assertEqual(self.load()["a"], 1)
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["state.json"])

    def test_damage_is_named(self):
        for content, problem in (
            (b"", "not JSON"),
            (b'{"version":1,"a"', "not JSON"),
            (b"\xff\xfe\x00", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "version is None"),
            (b'{"version":2}', "version is 2"),
        ):
            with self.subTest(content[:20]):
                self.write(content)
                with self.assertRaisesRegex(DamagedState, problem):
                    self.load()

    def test_a_folder_in_its_place_is_damage(self):
        os.makedirs(self.path)
        with self.assertRaisesRegex(DamagedState, "can't be read"):
            self.load()


class LifeInAFileTest(InAFolder):
    def load(self):
        return restart_file.load(self.path, Life.from_json)

    def save(self, **changed):
        restart_file.save(self.path, {**Life.begin().to_json(restart_marker=True), **changed})

    def test_the_marker_tells_a_restart_from_a_snapshot(self):
        self.save()
        self.assertEqual(self.load().origin["from"], "restart")
        self.save(restart_marker=False)
        self.assertEqual(self.load().origin["from"], "snapshot")

    def test_the_configuration_is_carried(self):
        self.save(config={"tick_interval": 2.5, "snapshot_period": 3})
        self.assertEqual(self.load().config, (2.5, 3))

    def test_any_part_that_is_wrong_is_damage(self):
        for part in Life.begin().to_json(restart_marker=True):
            whole = {"version": restart_file.VERSION, **Life.begin().to_json(restart_marker=True)}
            del whole[part]
            self.write(json.dumps(whole).encode())
            with self.subTest(missing=part), self.assertRaises(DamagedState):
                self.load()
        state = Life.begin().self_state.to_json()
        for changed in (
            {"self_state": []},
            {"self_state": {**state, "memory": [1]}},
            {"self_state": {**state, "memory": [{"kind": "fod", "id": "1"}]}},
            {"self_state": {**state, "energy": 10**400}},
            {"self_state": {**state, "ticks": "many"}},
            {"self_state": {**state, "history": {"energy": [1]}}},
            {"event_queue": [{"kind": "fod"}]},
            {"event_queue": {}},
            {"config": {"tick_interval": 0, "snapshot_period": 10}},
            {"config": {"tick_interval": 1, "snapshot_period": 0}},
            {"journal": {"seq": 1, "records": [{}]}},
            {"starts": [1]},
        ):
            self.save(**changed)
            with self.subTest(changed=str(changed)[:60]), self.assertRaises(DamagedState):
                self.load()


if __name__ == "__main__":
    unittest.main()
