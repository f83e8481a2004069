"""What a core dump of our processes would hold: no PIN, no key. PINs and keys are looked for in memory itself.

A dump is read as the kernel would write it (core(5)): the mappings of a process but those that are left out of dumps
(MADV_DONTDUMP), and none at all where its filter is empty. Being root, the tests can read what a dump handler could.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from switch.demo.environment import Environment
from switch.demo.presenting import Card
from switch.demo.secrets import zone_pin_key

PIN = "736152948031"
_PIECE_BYTES = 16 << 20
_OVERLAP_BYTES = 64


def clear_fields(pan: str) -> Iterator[bytes]:
    """The PIN as a block has it before it is enciphered (ISO 9564-1, format 0), with and without the PAN."""
    field = bytes.fromhex(f"0C{PIN}FF")
    yield field
    account = bytes.fromhex(f"0000{pan[-13:-1]}")
    yield bytes(left ^ right for left, right in zip(field, account, strict=True))


def forms_of(environment: Environment, cards: list[Card]) -> dict[bytes, str]:
    """Every form in which a PIN or key could lie in memory."""
    forms = {
        PIN.encode(): "the PIN, in digits",
        bytes.fromhex(PIN): "the PIN, packed",
        bytes(map(int, PIN)): "the PIN, a number a byte",
    }
    forms |= {field: "a clear PIN block" for card in cards for field in clear_fields(card.pan)}
    clear = json.loads((environment.state_dir / "simulators" / "keys.json").read_text())
    for name in ("unionpay_mmk", "acquirer_zpk", "issuer_zpk"):
        value = bytes.fromhex(clear[name])
        forms |= dict.fromkeys((value, value.hex().encode(), value.hex().upper().encode()), f"the key {name}")
    assert zone_pin_key(environment.state_dir) in forms
    return forms


def mappings(pid: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of what a dump of the process would hold."""
    if int(Path(f"/proc/{pid}/coredump_filter").read_text(), 16) == 0:
        return
    begin = end = 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):
            begin, end = (int(each, 16) for each in name.split("-"))
        elif name == "VmFlags:" and "rd" in rest.split() and "dd" not in rest.split() and "io" not in rest.split():
            yield begin, end


def found_in(pid: int, forms: dict[bytes, str]) -> set[str]:
    """What of `forms` a dump of the process would show."""
    found: set[str] = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for begin, end in mappings(pid):
            for start in range(begin, end, _PIECE_BYTES):
                try:
                    memory.seek(start)
                    piece = memory.read(min(_PIECE_BYTES + _OVERLAP_BYTES, end - start))
                except (OSError, OverflowError):  # gone meanwhile, or the kernel's own
                    continue
                found |= {what for form, what in forms.items() if form in piece}
    return found


def dumped_by_gcore(pid: int, folder: Path, forms: dict[bytes, str]) -> set[str]:
    """A dump that root forces with a debugger, which keeps to the filter too."""
    done = subprocess.run(["gcore", "-o", str(folder / "core"), str(pid)], capture_output=True, timeout=60, check=False)
    dumps = [each.read_bytes() for each in folder.glob("core.*")]
    assert dumps or done.returncode != 0
    return {what for dump in dumps for form, what in forms.items() if form in dump}
