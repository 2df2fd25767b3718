import json
import os
from pathlib import Path

STATE = os.environ.get("ORCH_STATE_FILE")  # with `state`: carried over every restart
visits = 0


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["type"] == "http":
        await answer(scope, send)


async def lifespan(receive, send):
    """Begins where the last run ended, and writes down where this one does."""
    global visits
    await receive()
    if STATE and Path(STATE).exists():
        visits = json.loads(Path(STATE).read_text())["visits"]
    await send({"type": "lifespan.startup.complete"})
    await receive()
    if STATE:
        Path(STATE).write_text(json.dumps({"visits": visits}))
    await send({"type": "lifespan.shutdown.complete"})


async def answer(scope, send):
    global visits
    if scope["path"] != "/health":
        visits += 1
    body = f"hello, visit {visits}\n".encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
