"""The programs as they run: stopped by a signal, started again, and nothing is lost between."""

import contextlib
import http.server
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
from unittest import mock
from urllib.request import Request, urlopen

from environment.event import Kind, make
from environment.generator import Generator
from main_server_api import HERE


class RuntimeTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = os.path.join(folder.name, "state.json")

    def start(self, *options):
        """Starts the runtime on a free port; its first words are in `self.said`."""
        words = [sys.executable, "main_server_api.py", "--port", "0", "--state", self.state, *options]
        process = subprocess.Popen(
            words, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.said = []
        for line in process.stdout:
            self.said.append(line)
            if "http://" in line:
                self.url = line.split()[-1]
                return process
        self.fail(f"the runtime did not start: {self.said}")

    def get(self, path):
        with urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, document):
        with urlopen(Request(self.url + "events", json.dumps(document).encode()), timeout=10) as answer:
            return json.load(answer)

    def stop(self, process, how=signal.SIGTERM):
        process.send_signal(how)
        self.assertEqual(process.wait(timeout=10), 0)

    def test_a_life_goes_on_in_the_next_process(self):
        first = self.start("--tick-interval", "3600")
        self.post([make(Kind.NOISE).to_json() for _ in range(5)])
        self.stop(first)
        with open(self.state, encoding="utf-8") as file:
            saved = json.load(file)
        self.assertTrue(saved["restart_marker"])
        self.assertEqual(len(saved["event_queue"]) + len(saved["self_state"]["memory"]), 5)

        second = self.start("--restart", "--tick-interval", "3600")
        whole = self.get("state")
        ticked = whole["self_state"]["ticks"] - saved["self_state"]["ticks"]
        self.assertIn(ticked, (0, 1))
        for name, points in saved["self_state"]["history"].items():
            self.assertEqual(whole["self_state"]["history"][name][: len(points)], points)
        self.assertEqual(whole["event_queue"], saved["event_queue"][2 * ticked :])
        self.assertEqual(whole["config"], {"tick_interval": 3600, "snapshot_period": 10})
        self.assertGreaterEqual(whole["seq"], saved["journal"]["seq"])
        self.stop(second, signal.SIGINT)

    def test_a_damaged_file_is_reported_and_passed_over(self):
        with open(self.state, "w", encoding="utf-8") as file:
            file.write('{"version":1,"self_state"')
        process = self.start("--restart")
        self.assertIn("is passed over: it is not JSON", self.said[0])
        self.assertIsNone(self.get("state")["origin"])
        self.stop(process)

    def test_what_is_asked_for_is_answered(self):
        process = self.start("--tick-interval", "0.02")
        self.assertEqual(self.get("health"), {"alive": True})
        with urlopen(self.url, timeout=10) as answer:
            self.assertIn(b"<title>life</title>", answer.read())
        event = make(Kind.FOOD).to_json()
        self.assertEqual(self.post(event), {"accepted": 1, "known": 0})
        self.assertEqual(self.post(event), {"accepted": 0, "known": 1})
        with urlopen(self.url + "stream?after=0", timeout=10) as stream:
            records = [json.loads(stream.readline()) for _ in range(5)]
        self.assertEqual([record["seq"] for record in records], [1, 2, 3, 4, 5])
        self.assertEqual(records[0]["what"], "started")
        for path, body, status in (
            ("nowhere", None, 404),
            ("stream?after=x", None, 400),
            ("events", b"no json", 400),
            ("events", b'{"kind":"fod"}', 400),
            ("events", b" " * 70_000, 413),
        ):
            with self.subTest(path=path, status=status), self.assertRaises(OSError) as caught:
                urlopen(Request(self.url + path, body), timeout=10)
            if hasattr(caught.exception, "code"):  # a body that is too long may be cut off instead
                self.assertEqual(caught.exception.code, status)
                caught.exception.close()
        self.stop(process)

    def test_a_port_that_is_taken_is_one_clear_error(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = str(other.getsockname()[1])
            words = [sys.executable, "main_server_api.py", "--port", port, "--state", self.state]
            ended = subprocess.run(words, cwd=HERE, capture_output=True, text=True, timeout=30)
        self.assertEqual(ended.returncode, 1)
        self.assertIn(f"port {port} of 127.0.0.1 can't be listened on", ended.stderr)


class GeneratorTest(unittest.TestCase):
    def test_an_event_is_held_until_it_is_taken(self):
        answers, got = [503, 503, 202], []

        class Runtime(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(answers.pop(0))
                self.end_headers()

            def log_message(self, format, *args):
                pass

        event = make(Kind.THREAT)
        with http.server.HTTPServer(("127.0.0.1", 0), Runtime) as server:
            serving = threading.Thread(target=lambda: [server.handle_request() for _ in range(3)])
            serving.start()
            generator = Generator(server.server_port, [event], 1)
            with contextlib.redirect_stdout(io.StringIO()):
                generator._deliver()
            serving.join()
        self.assertEqual(got, [event.to_json()] * 3)
        self.assertEqual(generator.stop(), {"pending": [], "made": 1})

    def test_what_was_not_delivered_is_carried_over(self):
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]  # nobody listens there once it is closed
        generator = Generator(port, [make(Kind.REST)], 1)
        generator._stop.wait = lambda seconds: generator._stop.set()
        with contextlib.redirect_stdout(io.StringIO()), mock.patch.object(generator, "_make", self.fail):
            generator.run()
        self.assertEqual([event["kind"] for event in generator.stop()["pending"]], ["rest"])


if __name__ == "__main__":
    unittest.main()
