#!/usr/bin/env python3
"""Measures orch, with the release binary, from the components' side where that is possible.

    cargo build --release && python3 bench/run.py [restart] [burst] [thousand] [validate] [idle] [killed] [log]
                                                   [upgrade] [cycle] [edit] [hostile] [logs] [sockets] [build]
                                                   [health] [proxy]

Without names, everything: about two minutes. Nothing else should run meanwhile. Each measurement works in a
folder of its own below the temporary folder, and ends what it started.
"""

import contextlib
import json
import os
import pathlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from clients import HEAD, Clients

HERE = pathlib.Path(__file__).resolve().parent
ORCH = os.environ.get("ORCH_BIN", str(HERE.parent / "target/release/orch"))
PATIENCE = 60  # seconds for anything to happen


def until(what, ready):
    """Waits until `ready()` gives something, and gives it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = ready()
        if found:
            return found
        time.sleep(0.001)
    raise SystemExit(f"not within {PATIENCE} s: {what}")


class Up:
    """`orch up` in a folder, ended when the block is left."""

    def __init__(self, folder, yaml):
        self.folder = pathlib.Path(folder)
        (self.folder / "devmode.yaml").write_text(yaml)

    def __enter__(self):
        quiet = subprocess.DEVNULL
        self.began = time.monotonic_ns()
        self.orch = subprocess.Popen([ORCH, "up"], cwd=self.folder, stdout=quiet, stderr=quiet)
        return self

    def __exit__(self, *_):
        if self.orch.poll() is None:
            self.orch.send_signal(signal.SIGINT)
            self.orch.wait(PATIENCE)

    def stamps(self):
        """When the components' first instructions ran, in nanoseconds of the monotonic clock."""
        trace = self.folder / "trace"
        return [int(line) for line in trace.read_text().split()] if trace.exists() else []

    def events(self):
        path = self.folder / ".orch/events.ndjson"
        if not path.exists():
            return []
        lines = path.read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]

    def count(self, event):
        path = self.folder / ".orch/events.ndjson"
        return path.read_bytes().count(f'"event":"{event}"'.encode()) if path.exists() else 0


def show(what, text):
    print(f"{what:<52} {text}", flush=True)


def stamp(folder):
    program = pathlib.Path(folder) / "stamp"
    subprocess.run(["cc", "-O2", "-static", "-o", program, HERE / "stamp.c"], check=True)
    return program


def restart(folder):
    stamp(folder)
    source = pathlib.Path(folder) / "src/a"
    source.parent.mkdir()
    source.write_text("0")
    with Up(folder, "version: 1\ncomponents:\n  a: { process: ./stamp, watch: [src] }\n") as up:
        until("the first start", up.stamps)
        took = []
        for number in range(1, 101):
            before = len(up.stamps())
            written = time.monotonic_ns()
            source.write_text(str(number))
            until("a restart", lambda: len(up.stamps()) > before)
            took.append((up.stamps()[-1] - written) / 1e6)
            until("ready", lambda: up.count("component.ready") > number)
        took.sort()
        text = f"median {statistics.median(took):.2f} ms, p99 {took[98]:.2f} ms, max {took[-1]:.2f} ms"
        show("write → first instruction of the new process (100)", text)
        show("  restarts for 100 saves", len(up.stamps()) - 1)


def build(folder):
    stamp(folder)
    source = pathlib.Path(folder) / "src/a"
    source.parent.mkdir()
    for what, gate in (("without a build", ""), ("with `build: \"true\"`", 'build: "true", ')):
        for left in (pathlib.Path(folder) / "trace", pathlib.Path(folder) / ".orch/events.ndjson"):
            left.unlink(missing_ok=True)
        source.write_text(f"0 {what}")
        with Up(folder, f"version: 1\ncomponents:\n  a: {{ process: ./stamp, {gate}watch: [src] }}\n") as up:
            until("the first start", up.stamps)
            until("ready", lambda: up.count("component.ready") > 0)
            first, built = [], []
            for number in range(1, 51):
                before, written = len(up.stamps()), time.monotonic_ns()
                source.write_text(f"{number} {what}")
                until("a restart", lambda: len(up.stamps()) > before)
                first.append((up.stamps()[-1] - written) / 1e6)
                until("ready", lambda: up.count("component.ready") > number)
                if gate:
                    good = [event for event in up.events() if event["event"] == "build.succeeded"]
                    built.append((good[-1]["mono_ns"] - written) / 1e6)
            first.sort()
            text = f"median {statistics.median(first):.2f} ms, max {first[-1]:.2f} ms"
            show(f"write → first instruction, {what} (50)", text)
            if built:
                show("  write → build done", f"median {statistics.median(built):.2f} ms")


def health(folder):
    # A server that answers at once, with room for all to ask in the same moment; 100 components ask it every 5 s.
    serve = """
import socket
server = socket.create_server(("127.0.0.1", 18797), backlog=512)
while True:
    peer, _ = server.accept()
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
    peer.close()
"""
    server = subprocess.Popen([sys.executable, "-c", serve])
    stamp(folder)
    took = {}
    try:
        for what, key in (("without", ""), ("with", ", health: { http: 'http://127.0.0.1:18797/', interval: 5s }")):
            (pathlib.Path(folder) / ".orch/events.ndjson").unlink(missing_ok=True)
            components = "".join(f"  c{n}: {{ process: ./stamp{key} }}\n" for n in range(100))
            with Up(folder, f"version: 1\ncomponents:\n{components}") as up:
                until("all ready", lambda: up.count("component.ready") == 100)
                time.sleep(6)
                before = cpu(up.orch.pid)
                time.sleep(20)
                took[what] = (cpu(up.orch.pid) - before) / 20 * 100
                threads = len(os.listdir(f"/proc/{up.orch.pid}/task"))
                assert up.count("component.unhealthy") == 0
        text = f"{took['with']:.2f} % of a core, {threads} threads (without: {took['without']:.2f} %)"
        show("100 components, health by http every 5 s", text)
    finally:
        server.kill()
        server.wait()


def cpu(pid):
    """The processor time of a process, in seconds."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def burst(folder):
    stamp(folder)
    source = pathlib.Path(folder) / "src"
    source.mkdir()
    for number in range(2000):
        (source / f"f{number}").write_text("0")
    with Up(folder, "version: 1\ncomponents:\n  a: { process: ./stamp, watch: [src] }\n") as up:
        until("the first start", up.stamps)
        until("ready", lambda: up.count("component.ready"))
        for number in range(2000):
            (source / f"f{number}").write_text("1")
        until("the restart", lambda: len(up.stamps()) > 1)
        time.sleep(2)  # what is measured is that nothing more comes
        show("restarts for 2,000 files rewritten in a burst", len(up.stamps()) - 1)


def thousand(folder):
    yaml = ["version: 1", "components:"]
    for number in range(1000):
        on = f", depends_on: [c{number - 100}]" if number >= 100 else ""
        yaml.append(f"  c{number}: {{ process: sleep 1000{on} }}")
    with Up(folder, "\n".join(yaml) + "\n") as up:
        until("all ready", lambda: up.count("component.ready") == 1000)
        ready = [event for event in up.events() if event["event"] == "component.ready"]
        show("1,000 × sleep in ten waves: up", f"{(ready[-1]['mono_ns'] - up.began) / 1e6:.0f} ms")
        memory = pathlib.Path(f"/proc/{up.orch.pid}/status").read_text()
        rss = next(line.split()[1] for line in memory.splitlines() if line.startswith("VmRSS"))
        show("  memory of orch", f"{int(rss) / 1024:.1f} MiB")
        asked = time.monotonic_ns()
        up.orch.send_signal(signal.SIGINT)
        up.orch.wait(PATIENCE)
        show("  down", f"{(time.monotonic_ns() - asked) / 1e6:.0f} ms")


def validate(folder):
    path = pathlib.Path(folder) / "big.yaml"
    with path.open("w") as file:
        file.write("version: 1\ncomponents:\n")
        for number in range(100_000):
            on = f"c{number - 1}" if number % 10 else ""
            file.write(
                f"  c{number}:\n    description: component number {number}\n    process: [sleep, \"1000\"]\n"
                f"    env: {{ PORT: \"{number}\", MODE: dev }}\n    depends_on: [{on}]\n"
                f"    ready:\n      tcp: 127.0.0.1:{1000 + number % 60000}\n      timeout: 5s\n"
                "    restart:\n      policy: on-failure\n      backoff: { initial: 100ms, max: 5s }\n"
                "    stop:\n      timeout: 3s\n    logs:\n      max_size: 5MiB\n"
            )
    size = path.stat().st_size / 1e6
    began = time.monotonic()
    subprocess.run([ORCH, "validate", path], check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    show(f"validate 100,000 components ({size:.0f} MB)", f"{took:.1f} s, at most {peak:.0f} MiB")


def idle(folder):
    (pathlib.Path(folder) / "src").mkdir()
    lines = [f"  c{number}: {{ process: sleep 1000, watch: [src] }}" for number in range(100)]
    with Up(folder, "version: 1\ncomponents:\n" + "\n".join(lines) + "\n") as up:
        until("all ready", lambda: up.count("component.ready") == 100)
        time.sleep(2)
        pids = [up.orch.pid, *children(up.orch.pid)]
        before = switches(pids)
        time.sleep(10)
        show("wake-ups of orch and its keeper, idle, 100 components", f"{switches(pids) - before} in 10 s")


def children(pid):
    return [int(one) for one in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def switches(pids):
    total = 0
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            lines = (task / "status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)
    return total


def killed(folder):
    took = []
    for _ in range(10):
        daemon = "setsid sh -c 'trap \"\" TERM; while :; do sleep 1; done' & exec sleep 1000"
        lines = [f"  c{number}: {{ process: {{ shell: {json.dumps(daemon)} }} }}" for number in range(20)]
        with Up(folder, "version: 1\ncomponents:\n" + "\n".join(lines) + "\n") as up:
            until("all ready", lambda: up.count("component.ready") % 20 == 0 and up.count("component.ready"))
            keeper = children(up.orch.pid)[0]
            units = below(keeper)
            began = time.monotonic_ns()
            up.orch.kill()
            up.orch.wait()
            until("all gone", lambda: not any(alive(pid) for pid in [keeper, *units]))
            took.append((time.monotonic_ns() - began) / 1e6)
        (pathlib.Path(folder) / ".orch/events.ndjson").unlink()
    text = f"median {statistics.median(took):.1f} ms, max {max(took):.1f} ms"
    show("kill -9 of orch → 20 components with daemons gone (10)", text)


def below(pid):
    found = []
    for child in children(pid):
        found += [child, *below(child)]
    return found


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def log(folder):
    size = 1 << 30
    line = "x" * 99
    shell = f"exec head -c {size} < lines"
    path = pathlib.Path(folder) / "lines"
    path.write_text((line + "\n") * (size // 100 + 1))
    component = f"  a: {{ process: {{ shell: {json.dumps(shell)} }}, logs: {{ file: a.log, max_size: 100GiB }} }}"
    with Up(folder, f"version: 1\ncomponents:\n{component}\n") as up:
        until("the end", lambda: up.count("component.completed"))
        events = {event["event"]: event["mono_ns"] for event in up.events()}
        took = (events["component.completed"] - events["component.spawned"]) / 1e9
    written = (pathlib.Path(folder) / "a.log").stat().st_size
    show("1 GiB of 100-byte lines to the log file", f"{size / took / 1e6:.0f} MB/s, all of it: {written == size}")


def upgrade(folder):
    """Changes of images: from the event that asks for one to the new image's first, with 100 processes."""
    parts = "".join(f"  c{n}: {{ process: sleep 1000 }}\n" for n in range(100))
    with Up(folder, "version: 1\ncomponents:\n  clock: { thread: ticker, state: true }\n" + parts) as up:
        until("all are ready", lambda: up.count("component.ready") == 101)
        before = len(os.listdir(f"/proc/{up.orch.pid}/fd"))
        for _ in range(30):
            subprocess.run([ORCH, "upgrade"], cwd=folder, check=True, stderr=subprocess.DEVNULL)
        times, asked = [], None
        for event in up.events():
            if event["event"] == "command" and event["name"] == "upgrade":
                asked = event["mono_ns"]
            elif event["event"] == "orch.reexec":
                times.append((event["mono_ns"] - asked) / 1e6)
        fds = len(os.listdir(f"/proc/{up.orch.pid}/fd"))
        low, high = min(times), max(times)
        show("upgrade, 100 processes, command to new image", f"{low:.0f} / {statistics.median(times):.0f} / {high:.0f} ms")
        show("  descriptors open before and after 30 of them", f"{before}, {fds}")


def cycle(folder):
    """The stop -> start of a thread with state: from the request to stop to the next one's being ready."""
    source = pathlib.Path(folder) / "source"
    source.write_text("0")
    yaml = "version: 1\ncomponents:\n  clock: { thread: ticker, with: { every: 10ms }, state: true, watch: [source] }\n"
    with Up(folder, yaml) as up:
        until("it is ready", lambda: up.count("component.ready") == 1)
        for number in range(1, 101):
            source.write_text(str(number))
            until("it is ready again", lambda: up.count("component.ready") == number + 1)
        times, asked = [], None
        for event in up.events():
            if event["event"] == "component.stop_requested":
                asked = event["mono_ns"]
            elif event["event"] == "component.ready" and asked:
                times.append((event["mono_ns"] - asked) / 1e6)
                asked = None
        times.sort()
        show("thread with state, stop to ready, 100 times", f"{times[0]:.1f} / {statistics.median(times):.1f} / {times[-1]:.1f} ms")


def ask(*words, folder):
    """Runs a command of orch's; gives how long it took in milliseconds, and its standard output."""
    began = time.monotonic_ns()
    done = subprocess.run([ORCH, *words], cwd=folder, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return (time.monotonic_ns() - began) / 1e6, done.stdout


def three(times):
    return f"{min(times):.0f} / {statistics.median(times):.0f} / {max(times):.0f} ms"


def edit(folder):
    """5,000 components, of which 200 run; one path to watch more or less: from the save to its being applied."""
    def yaml(path):
        lines = ["version: 1", "components:"]
        for number in range(5000):
            start = "" if number < 200 else ", autostart: false"
            watch = f"[src, {path}]" if number == 7 else "[src]"
            lines.append(f"  c{number}: {{ process: sleep 1000, watch: {watch}{start} }}")
        return "\n".join(lines) + "\n"

    (pathlib.Path(folder) / "src").mkdir()
    with Up(folder, yaml("a")) as up:
        until("all are ready", lambda: up.count("component.ready") == 200)
        times, planned = [], []
        for number in range(20):
            beside = pathlib.Path(folder) / "beside"
            beside.write_text(yaml("ab"[number % 2 == 0]))
            planned.append(ask("plan", "--against", "beside", folder=folder)[0])
            saved = time.monotonic_ns()
            beside.rename(pathlib.Path(folder) / "devmode.yaml")
            until("the edit is applied", lambda: up.count("config.reloaded") == number + 1)
            times.append((up.events()[-1]["mono_ns"] - saved) / 1e6)
        touched = up.count("component.spawned") - 200
        show("5,000 components, one path more: save to applied (20)", f"{three(times)}, processes touched: {touched}")
        show("  orch plan --against, as a whole command", three(planned))


def hostile(folder):
    """orch ps beside 300 connections that say nothing, half a request, garbage, or never read."""
    lines = [f"  c{number}: {{ process: sleep 1000 }}" for number in range(100)]
    with Up(folder, "version: 1\ncomponents:\n" + "\n".join(lines) + "\n") as up:
        until("all are ready", lambda: up.count("component.ready") == 100)
        calm = [ask("ps", "--json", folder=folder)[0] for _ in range(20)]
        memory = lambda: int(next(
            line.split()[1] for line in pathlib.Path(f"/proc/{up.orch.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")))
        before, sockets = memory(), []
        says = [b"", b"GET /v1/status HT", b"\x00\xff" * 100, b"GET /v1/events?follow=true HTTP/1.1\r\nHost: o\r\n\r\n"]
        pressed = []
        for number in range(300):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(pathlib.Path(folder) / ".orch/control.sock"))
            try:
                client.sendall(says[number % len(says)])
            except OSError:
                pass  # refused already
            sockets.append(client)
            if number % 10 == 9:
                pressed.append(ask("ps", "--json", folder=folder)[0])
        grown = memory() - before
        for client in sockets:
            client.close()
        show("orch ps, 100 components, calm (20)", three(calm))
        show("  while 300 hostile connections come and stay (30)", f"{three(pressed)}, memory +{grown / 1024:.1f} MiB")


def logs(folder):
    """orch logs of a log of 1 GiB: all of it, and its last ten lines."""
    size = 1 << 30
    path = pathlib.Path(folder) / "a.log"
    with path.open("w") as file:
        for _ in range(1024):
            file.write(("x" * 99 + "\n") * (size // 102_400))
    written = path.stat().st_size
    yaml = "version: 1\ncomponents:\n  a: { process: sleep 1000, logs: { file: a.log, max_size: 100GiB } }\n"
    with Up(folder, yaml) as up:
        until("it is ready", lambda: up.count("component.ready") == 1)
        began = time.monotonic()
        child = subprocess.Popen([ORCH, "logs", "a"], cwd=folder, stdout=subprocess.DEVNULL)
        _, _, used = os.wait4(child.pid, 0)
        took = time.monotonic() - began
        show("orch logs of 1 GiB", f"{written / took / 1e6:.0f} MB/s, at most {used.ru_maxrss / 1024:.0f} MiB")
        show("  its last ten lines", three([ask("logs", "-n", "10", "a", folder=folder)[0] for _ in range(20)]))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def under_restarts(folder, yaml, port, times=100):
    """Restarts `api` by saves of `source`, under clients without pause, and gives what these saw."""
    trace, source = pathlib.Path(folder) / "trace", pathlib.Path(folder) / "source"
    trace.unlink(missing_ok=True)
    source.write_text("0")
    with Up(folder, yaml) as up:
        until("the first start", up.stamps)
        with Clients("127.0.0.1", port) as clients:
            for number in range(1, times + 1):
                source.write_text(str(number))
                until("a restart", lambda: len(up.stamps()) > number)
        return clients


def sockets(folder):
    """What clients notice of 100 restarts: with `sockets`, and of a server that binds its port itself."""
    show("100 restarts under 4 clients", HEAD)
    for what, held in [("  with `sockets`", True), ("  the same server with a port of its own", False)]:
        port = free_port()
        api = f"process: [{sys.executable}, -S, {HERE / 'serve.py'}, '{port}'], watch: [source]"
        api += f", sockets: {{ http: '127.0.0.1:{port}' }}" if held else ""
        show(what, under_restarts(folder, f"version: 1\ncomponents:\n  api: {{ {api} }}\n", port).line())


def proxy(folder):
    """The same with a proxy before a server that binds its own port; and what the way through the proxy costs."""
    show("100 restarts under 4 clients", HEAD)
    for what, fronted in [("  with `proxy`", True), ("  the same server without", False)]:
        port, front = free_port(), free_port()
        words = f"[{sys.executable}, -S, {HERE / 'serve.py'}, '{port}']"
        yaml = f"version: 1\ncomponents:\n  api:\n    process: {words}\n    watch: [source]\n"
        if fronted:
            yaml += f"    ready: {{ tcp: '127.0.0.1:{port}', interval: 1ms }}\n"
            yaml += f"  front: {{ thread: proxy, with: {{ listen: '127.0.0.1:{front}', to: '127.0.0.1:{port}' }} }}\n"
        show(what, under_restarts(folder, yaml, front if fronted else port).line())
    port, front = free_port(), free_port()
    yaml = f"version: 1\ncomponents:\n  api:\n    process: [{sys.executable}, {HERE / 'keep.py'}, '{port}']\n"
    yaml += f"    ready: {{ tcp: '127.0.0.1:{port}' }}\n"
    yaml += f"  front: {{ thread: proxy, with: {{ listen: '127.0.0.1:{front}', to: '127.0.0.1:{port}' }} }}\n"
    with Up(folder, yaml):
        until("both are ready", lambda: answers(front) and answers(port))
        for what, at in [("one client, its connection kept: through the proxy", front), ("  straight", port)]:
            took = kept(at)
            rate = 1e9 / statistics.mean(took)
            middle, late = statistics.median(took) / 1e3, took[len(took) * 99 // 100] / 1e3
            show(what, f"{rate:.0f} requests/s, median {middle:.0f} µs, p99 {late:.0f} µs")


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def kept(port, times=20_000):
    """How long each of so many requests took on one connection, in nanoseconds."""
    took = []
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(times):
            began, answer = time.monotonic_ns(), b""
            stream.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not answer.endswith(b"ok\n"):
                answer += stream.recv(65536)
            took.append(time.monotonic_ns() - began)
    return sorted(took)


def main():
    everything = [restart, burst, thousand, validate, idle, killed, log, upgrade, cycle, edit, hostile, logs]
    everything += [sockets, build, health, proxy]
    wanted = sys.argv[1:] or [one.__name__ for one in everything]
    for one in everything:
        if one.__name__ in wanted:
            with tempfile.TemporaryDirectory(prefix="orch-bench-") as folder:
                one(folder)


if __name__ == "__main__":
    main()
