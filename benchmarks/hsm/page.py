"""What the rounds found, as a page of Markdown and as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.hsm.own import Operation
from benchmarks.hsm.peers import PEERS
from benchmarks.hsm.rounds import BATCHED, ONE_CALL, PROCESS, SCALED, SCALING_BATCH, Measured

WAYS = (ONE_CALL, BATCHED, PROCESS)
_PIN, _RETAIL, _CMAC, _PKCS11 = (
    "PIN translation 0→0, TDES",
    "retail MAC, 200 bytes",
    "AES-CMAC, 200 bytes",
    "python-pkcs11",
)

# (what, operation, way, at least), each beside python-pkcs11 in the same rounds.
WANTED = (
    ("PIN translation, direct, one call", _PIN, ONE_CALL, 8.0),
    ("PIN translation, direct, batches", _PIN, BATCHED, 8.0),
    ("PIN translation, process, batches", _PIN, PROCESS, 5.0),
    ("retail MAC over 200 bytes, one call", _RETAIL, ONE_CALL, 8.0),
    ("AES-CMAC over 200 bytes, one call", _CMAC, ONE_CALL, 8.0),
)


def page(measured: Measured, operations: Sequence[Operation]) -> str:
    """Items a second by operation and way, and the ratios that are wanted."""
    columns = (*WAYS, *PEERS)
    lines = [f"| items a second | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for operation in operations:
        cells = (measured.rate(operation.name, column) for column in columns)
        shown = " | ".join("–" if rate is None else f"{rate:,.0f}" for rate in cells)
        batch = "" if operation.batch == 32 else f" (batches of {operation.batch})"
        lines.append(f"| {operation.name}{batch} | {shown} |")
    lines += ["", "| ratio to python-pkcs11, median of the rounds | wanted | found |", "|---|---|---|"]
    for name, operation_name, way, least in WANTED:
        ratio = measured.ratio(operation_name, way, _PKCS11)
        lines.append(f"| {name} | ≥ {least:g} | {'–' if ratio is None else f'{ratio:.1f}'} |")
    lines.append(f"| two HSM processes ÷ one ({SCALED.name}, batches of {SCALING_BATCH}) | ≥ 1.8 | "
                 f"{measured.scaling_ratio:.2f} |")  # fmt: skip
    lines += [
        "",
        "| one PIN translation through a process, µs | median | p99 | signatures a second |",
        "|---|---|---|---|",
    ]
    for name, delays in (("alone", measured.alone), ("beside RSA signatures", measured.beside_signatures)):
        found = [median(getattr(each, part) for each in delays) for part in ("median_us", "p99_us", "signatures_per_s")]
        lines.append(f"| {name} | " + " | ".join(f"{each:,.0f}" for each in found) + " |")
    return "\n".join(lines) + "\n"


def write(measured: Measured, operations: Sequence[Operation], folder: Path) -> str:
    """Write `hsm.md` and `hsm.json` into a folder; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    text = page(measured, operations)
    (folder / "hsm.md").write_text(text)
    machine = {"python": platform.python_version(), "system": platform.platform(), "cores": os.cpu_count()}
    found = {"machine": machine, **asdict(measured)}
    (folder / "hsm.json").write_text(json.dumps(found, indent=1))
    return text
