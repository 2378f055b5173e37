"""Key ring files: a ring as JSON for its owner's eyes only, replaced as a whole, with a log of changes beside it.

No error shows what is in a file.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from streamgauge.processors.keyring import NO_SECRET, Key, Keyring
from streamgauge.schemas.errors import InputError, SettingsError
from streamgauge.schemas.settings import Secret

FORMAT = 1
OTHERS = stat.S_IRWXG | stat.S_IRWXO
MAX_BYTES = 1 << 20


def read_ring(path: Path) -> Keyring:
    """The ring in a file. Raises SettingsError, with advice, for one that is missing, open to others, or no ring."""
    while True:
        content, inode = _content(path)
        try:
            return decode_ring(content)
        except SettingsError as error:
            # what is overwritten while it is read has been replaced already
            if _content(path)[1] == inode:
                raise SettingsError([f"{path}: {problem}" for problem in error.problems]) from None


def _content(path: Path) -> tuple[bytes, int]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise SettingsError(
                    [f"{path}: not a file; STREAMGAUGE_KEYS names a key ring, or provider:module:factory"]
                )
            if found.st_mode & OTHERS:
                mode = stat.S_IMODE(found.st_mode)
                raise SettingsError(
                    [f"{path}: other users may use this key ring (mode {mode:04o}); say: chmod 600 {path}"]
                )
            return file.read(MAX_BYTES), found.st_ino
    except FileNotFoundError:
        problem = f"there is no key ring; make one with: streamgauge keys new --keys {path}"
    except OSError as error:
        problem = f"{error.strerror}; the key ring must be readable to this user, and to no other"
    raise SettingsError([f"{path}: {problem}"])


def decode_ring(content: bytes) -> Keyring:
    """A ring from what `encode_ring` made. Raises SettingsError that shows nothing of the content."""
    try:
        body = orjson.loads(content)
        if body["format"] != FORMAT:
            raise SettingsError(["a key ring of another release: start the one that wrote it"])
        keys = tuple(_key(one) for one in body["keys"])
        return Keyring(keys, _key(body["recognition"]), int(body.get("taken_over_ms", 0)))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        pass  # these errors hold pieces of the file
    raise SettingsError(["not a key ring; restore it from your copy, for without its keys nobody can be recognised"])


def _key(one: Any) -> Key:
    body = cast("dict[str, Any]", one)
    return Key(
        str(body["id"]),
        int(body["from_ms"]),
        int(body["created_ms"]),
        str(body["fingerprint"]),
        Secret(str(body["secret"])) if body.get("secret") else NO_SECRET,
        int(body.get("destroyed_ms", 0)),
    )


def encode_ring(ring: Keyring) -> bytes:
    """A ring as JSON, secrets and all: for its file alone."""
    body = {
        "format": FORMAT,
        "keys": [_json(key) for key in ring.keys],
        "recognition": _json(ring.recognition),
        "taken_over_ms": ring.taken_over_ms,
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _json(key: Key) -> dict[str, Any]:
    body: dict[str, Any] = {
        "id": key.id,
        "from_ms": key.from_ms,
        "created_ms": key.created_ms,
        "fingerprint": key.fingerprint,
    }
    return body | ({"secret": key.secret.reveal()} if key.live else {"destroyed_ms": key.destroyed_ms})


def audit_path(path: Path) -> Path:
    """The log of changes of a ring, beside it."""
    return path.with_name(f"{path.stem}.audit.jsonl")


def create_ring(path: Path, ring: Keyring, now_ms: int) -> None:
    """Write a new ring. Raises InputError if there is a file already, or none can be written."""
    with _errors(path), _audited(path) as audit:
        if os.path.lexists(path):
            raise InputError(
                f"{path}: there is a key ring already, and without it nobody can be recognised any more; "
                "`streamgauge keys rotate` adds a key to it"
            )
        _draft(path, encode_ring(ring)).replace(path)
        _sync(path.parent)
        audit("taken over" if ring.taken_over_ms else "new", ring.keys[0], now_ms)


def change_ring(path: Path, what: str, now_ms: int, change: Callable[[Keyring], tuple[Keyring, Key]]) -> Keyring:
    """Read a ring, replace it by what `change` makes of it, and note what was done with which key. What the old file held
    is overwritten, so that a destroyed secret does not stay on the disk. Changes wait for one another."""
    path = path.resolve()
    with _errors(path), _audited(path) as audit:
        ring, key = change(read_ring(path))
        for left in path.parent.glob(f".{path.name}.*.draft"):  # by a change that was killed
            erase(left)
        with path.open("r+b") as old:
            _draft(path, encode_ring(ring)).replace(path)
            _sync(path.parent)
            _overwrite(old)
        audit(what, key, now_ms)
    return ring


@contextmanager
def _errors(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path}: {error.strerror}; nothing was changed unless the ring says so"
        ) from None


@contextmanager
def _audited(path: Path) -> Generator[Callable[[str, Key, int], None]]:
    """The log, open before anything is changed, and locked, so that two changes never overwrite each other."""
    target = audit_path(path)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def note(what: str, key: Key, now_ms: int) -> None:
            line = {"what": what, "id": key.id, "fingerprint": key.fingerprint, "at_ms": now_ms, "who": whoami()}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(file.fileno())

        yield note


def whoami() -> str:
    """The user of this process, as the system knows it: the environment could say anything."""
    with suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return f"uid {os.geteuid()}"


def _draft(path: Path, content: bytes) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _sync(directory: Path) -> None:
    held = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def erase(path: Path) -> None:
    """Overwrite and remove a file that held a secret."""
    with path.open("r+b") as file:
        _overwrite(file)
    path.unlink()


def _overwrite(file: BinaryIO) -> None:
    file.write(bytes(os.fstat(file.fileno()).st_size))
    file.flush()
    os.fsync(file.fileno())
