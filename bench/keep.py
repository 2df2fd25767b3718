"""A small server for measurements that keeps its connections: `keep.py PORT`."""

import socket
import sys
import threading

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"


def attend(client):
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with client:
        while client.recv(65536):
            client.sendall(ANSWER)


listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
while True:
    threading.Thread(target=attend, args=(listener.accept()[0],), daemon=True).start()
