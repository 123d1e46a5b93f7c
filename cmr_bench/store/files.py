"""Files that no kill, second writer or full disk can damage; keys of plain values; JSON (lines).

JSON has no nan and no infinity: both are written as null.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REMEDY = {
    errno.ENOSPC: "free some space and run the same line again",
    errno.EDQUOT: "free some of your quota and run the same line again",
    errno.EFBIG: "raise the file size limit (ulimit -f) and run the same line again",
    errno.EACCES: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that can be written to",
}


def plain(value: Any) -> Any:
    """The value as nested dicts (sorted string keys), lists, strings, numbers, bools and None."""
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"a stored mapping needs string keys, got {wrong[0]!r}")
        return {key: plain(value[key]) for key in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # numpy scalars and arrays, tensors
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    raise ValueError(f"cannot store {value!r} ({type(value).__name__}): plain nested values only")


def key_of(value: Any) -> str:
    """12 hex digits that name a plain nested value; the order of a mapping does not matter."""
    text = json.dumps(plain(value), separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_fault(path: Path, error: BaseException) -> OSError | None:
    """One clear line for a write that the system refused; None if the error is of another kind.

    HDF5 and torch hide the system's number in a text, or lose it.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := re.search(r"errno = (\d+)", str(error))):
        number = int(found.group(1))
    if number is None and re.search(r"writ\w* failed|failed writ|unexpected pos", str(error)):
        number = errno.ENOSPC
    if number is None:
        return None
    remedy = REMEDY.get(number, "check the disk")
    return OSError(
        number, f"could not write {path}: {os.strerror(number)}; what was stored is whole; {remedy}"
    )


@contextmanager
def atomic(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside the target, synced and renamed into place if the block succeeds.

    Whatever happens inside, a reader sees the old file or the new one, whole.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:8]}.tmp{target.suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        sync(target.parent)
    except (OSError, RuntimeError) as error:
        if fault := write_fault(target, error):
            raise fault from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sweep_strays(folder: Path) -> None:
    """Remove what killed writers left; only for the holder of the folder's lock."""
    for stray in folder.rglob(".*.tmp*"):
        stray.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The mapping in a JSON file; an absent or unreadable file is an empty one."""
    try:
        value = json.loads(Path(path).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def append_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Add one line a row in one write; a line torn by an earlier kill is repaired first."""
    text = "".join(json.dumps(plain(row), allow_nan=False) + "\n" for row in rows)
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "a+b", buffering=0) as stream:
            end = _repair(stream, target)
            try:
                remaining = memoryview(text.encode())
                while remaining:
                    remaining = remaining[stream.write(remaining) :]
            except OSError:
                stream.truncate(end)
                raise
    except OSError as error:
        raise write_fault(target, error) or error from error


def _repair(stream: Any, path: Path) -> int:
    """Cut a torn last line, or end it where only its newline is missing; returns the size."""
    end: int = stream.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    stream.seek(end - 1)
    if stream.read(1) == b"\n":
        return end
    content = path.read_bytes()
    last = content.rfind(b"\n") + 1
    if _row(content[last:]) is None:
        stream.truncate(last)
        return last
    stream.write(b"\n")
    return end + 1


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def read_jsonl(path: str | os.PathLike[str], *, tail: int | None = None) -> list[dict[str, Any]]:
    """The rows of a JSON lines file without torn lines; `tail` reads only that many last bytes."""
    try:
        with open(path, "rb") as stream:
            if tail is not None:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - tail))
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [row for line in content.splitlines() if (row := _row(line)) is not None]
