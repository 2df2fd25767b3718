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

with open("trace", "a") as trace:
    trace.write(f"{time.monotonic_ns()}\n")
while woken.fileno() not in [fd for fd, _ in both.poll()]:
    client, _ = listener.accept()
    with client:
        client.recv(65536)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n")
