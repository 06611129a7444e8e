"""bench/clients.json: what `bench/clients.py` measured, each part with its machine."""

from __future__ import annotations

import json
import time
from typing import Any

import machine
from record import ROOT, commit

PATH = ROOT / "bench" / "clients.json"


def put(part: str, rows: list[dict[str, Any]], *, threads: int, key: str) -> None:
    """Write the rows of a part, in place of earlier ones with the same value of `key`."""
    stored = json.loads(PATH.read_text(encoding="utf-8")) if PATH.exists() else {}
    stamp = {
        "machine": machine.facts(threads, limit=False),
        "taken": time.strftime("%Y-%m-%d"),
        "commit": commit(),
    }
    new = {row[key] for row in rows}
    kept = [row for row in stored.get(part, []) if row[key] not in new]
    stored[part] = kept + [row | stamp for row in rows]
    beside = PATH.with_suffix(".tmp")
    beside.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    beside.replace(PATH)
