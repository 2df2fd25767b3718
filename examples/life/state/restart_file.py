"""The restart file: one JSON document, replaced as a whole or not at all."""

from __future__ import annotations

import json
import os
from typing import Any, Callable, TypeVar

VERSION = 1
MAX_SIZE = 16 * 1024 * 1024  # bytes; nothing here writes more

T = TypeVar("T")


class DamagedState(Exception):
    """The file is there, but can't be used; the message says why."""


def save(path: str, document: dict[str, Any]) -> None:
    """Writes the document so that a reader, or a crash, finds the old file or the new one, never a part.

    Raises OSError; the file is then as it was.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    temporary = os.path.join(folder, f".{os.path.basename(path)}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **document}, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise


def load(path: str, read: Callable[[dict[str, Any]], T]) -> T | None:
    """What `read` makes of the document; None if there is no file.

    Raises DamagedState for a file that can't be read, is no JSON, has another version, or that `read`
    stumbles over.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedState(f"it can't be read: {error.strerror}") from error
    if len(content) > MAX_SIZE:
        raise DamagedState(f"it is larger than {MAX_SIZE} bytes")
    return _understand(content, read)


def _understand(content: bytes, read: Callable[[dict[str, Any]], T]) -> T:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DamagedState(f"it is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DamagedState("it is not a JSON object")
    if document.get("version") != VERSION:
        raise DamagedState(f"its version is {document.get('version')!r}, and this program reads {VERSION}")
    try:
        return read(document)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise DamagedState(f"its content is wrong: {type(error).__name__}: {error}") from error


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was never made, or the disk is gone: the error that led here says more
