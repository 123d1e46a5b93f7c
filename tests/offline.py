"""Reads the files that W&B leaves when it is offline."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def records(path: Path) -> Iterator[Any]:
    """The whole records of a .wandb file: a 7-byte header, then LevelDB-log blocks of 32 KiB; a kill tears the last."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, payload = path.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        crc, length, kind = struct.unpack_from("<IHB", content, at)
        chunk = content[at + 7 : at + 7 + length]
        if len(chunk) < length:
            return
        assert zlib.crc32(bytes([kind]) + chunk) == crc
        payload, at = payload + chunk, at + 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(payload)
            yield record
            payload = b""


def items(block: Any) -> dict[str, Any]:
    pairs = ((item.key or ".".join(item.nested_key), item.value_json) for item in block)
    return {key: json.loads(text) for key, text in pairs}


def read(path: Path, patience: float = 10) -> dict[str, list[Any]]:
    """Records by kind; the service of W&B may write the file a moment after `finish`."""
    found: dict[str, list[Any]] = {}
    for _ in range(round(10 * patience)):
        found = {}
        for record in records(path):
            kind = record.WhichOneof("record_type")
            found.setdefault(kind, []).append(getattr(record, kind))
        if "exit" in found:
            break
        time.sleep(0.1)
    return found


def config(found: dict[str, list[Any]]) -> dict[str, Any]:
    whole = items(found["run"][0].config.update)
    for block in found.get("config", []):
        whole |= items(block.update)
    return whole


def history(found: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [items(block.item) for block in found.get("history", [])]


def summary(found: dict[str, list[Any]]) -> dict[str, Any]:
    return {k: v for block in found.get("summary", []) for k, v in items(block.update).items()}
