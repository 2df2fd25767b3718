"""A small server for measurements: on the socket that it is handed (sd_listen_fds(3)), else on a port of its own.
It notes in `trace` when it is there, and answers what it has accepted before it ends."""

import os
import select
import signal
import socket
import sys
import time

if os.environ.get("LISTEN_PID") == str(os.getpid()):
    listener = socket.socket(fileno=3)
else:
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)

# Woken by the signal, never broken off: what was accepted is answered.
wake, woken = socket.socketpair()
wake.setblocking(False)
signal.set_wakeup_fd(wake.fileno())
signal.signal(signal.SIGTERM, lambda *_: None)
both = select.poll()
both.register(woken, select.POLLIN)
both.register(listener, select.POLLIN)


def attend(client):
    """One request, read whole, and its answer."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := client.recv(65536)):
            return
        request += more
    head, _, body = request.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    length = int(lengths[0]) if lengths else 0
    while len(body) < length and (more := client.recv(65536)):
        body += more
    if len(body) == length:
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")


with open("trace", "a") as trace:
    trace.write(f"{time.monotonic_ns()}\n")
while woken.fileno() not in [fd for fd, _ in both.poll()]:
    client, _ = listener.accept()
    with client:
        attend(client)
