"""The import rule of the house, held by reading the imports of every module of ours.

    domain → ports → following → {entry, risk, routing, orders, users, store, vault, ops, pki, adapters.*} → payments
        → {merchants, settlement} → {api, terminals} → wiring

A package imports only from packages to its left; packages between the same arrows do not import each other. Around it:
`hsm` imports nothing of ours; codecs and what is pure know no I/O, clock or log; only `api` and `client` know the
protobuf stubs; only tests, benchmarks and the demo import a simulator; a simulator shares no cryptography with the
adapter it judges.
"""

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("switch", "hsm", "adapters", "benchmarks")
STUBS = "payswitch"

# From left to right; a set holds packages that do not import each other.
ARROWS: tuple[frozenset[str], ...] = (
    frozenset({"switch.domain"}),
    frozenset({"switch.ports"}),
    frozenset({"switch.following"}),
    frozenset(
        {"switch.entry", "switch.risk", "switch.orders", "switch.users", "switch.store", "switch.vault"}
        | {"switch.ops", "switch.pki", "switch.routing"}
        | {"adapters.alipay", "adapters.issuer", "adapters.unionpay", "adapters.wechat"}
    ),
    frozenset({"switch.payments"}),
    frozenset({"switch.merchants", "switch.settlement"}),
    frozenset({"switch.api", "switch.terminals"}),
)
RANK = {package: rank for rank, packages in enumerate(ARROWS) for package in packages}

# `app`, what it is configured and started by, and the commands beside it. They may import anything but a simulator.
WIRING = (
    *("switch.app", "switch.wiring", "switch.cli", "switch.config", "switch.settings_listing"),
    *("switch.settings_sections", "switch.bill_cli", "switch.billing", "switch.billing_through"),
    *(
        "switch.routes_cli",
        "switch.routes_desk",
        "switch.risk_replay_cli",
        "switch.terminals_cli",
        "switch.hsm_cli",
        "switch.keys_cli",
    ),
    *("switch.own_keys", "switch.key_ceremony", "switch.hidden_input"),
    *("switch.risk_cli", "switch.risk_evaluation", "switch.risk_share_cli"),
    *("switch.command_database", "switch.audit_cli", "switch.audit_desk", "switch.ledger_cli"),
    *("switch.messages_cli", "switch.messenger", "switch.retention_cli"),
)
# They use the switch from outside, and may import anything.
OUTSIDE = ("benchmarks", "switch.demo")
CLIENT = "switch.client"
# An SDK drags nothing of the switch along but values.
OPEN_TO_CLIENT = ("switch.domain", "adapters.issuer.messages")
SIMULATION = "adapters.simulation"

# The layouts and texts of a channel, by the last part of their names: no I/O, and open to the channel's simulator.
CODECS = frozenset({"codec", "_codec", "format", "frame", "messages", "mac"})
SHARED_WITH_SIMULATORS = CODECS - {"mac"}
ROUTING = (
    *("_bins", "bins", "cases", "check", "choose", "contracts", "document"),
    *("examples", "hours", "plan", "success", "table"),
)
RISK = (
    *("conditions", "document", "evaluation", "expression", "facts", "lists", "rules"),
    *("check", "facts_page", "starter", "poisoning", "stix_reader", "card_tokens", "share_signature"),
    *("account_monitor", "device_monitor", "door_monitor", "findings", "later_counts", "monitor_settings", "sources"),
)
PURE = (
    *("switch.domain", "switch.entry", "switch.payments.decide", "switch.settlement.compare"),
    *("switch.settlement.classify", "switch.settlement.evidence"),
    *(f"switch.routing.{each}" for each in ROUTING),
    *(f"switch.risk.{each}" for each in RISK),
    *("switch.terminals.answers", "switch.terminals.requests"),
)
WORLD = frozenset(
    {"asyncio", "socket", "ssl", "select", "selectors", "time", "threading", "subprocess", "logging", "structlog"}
    | {"aiohttp", "asyncpg", "grpc", "redis", "uvloop", "prometheus_client"}
)
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True)
class Module:
    """name: dotted. imports: dotted names of all it imports. clock_reads: lines that ask the time."""

    name: str
    imports: frozenset[str]
    clock_reads: tuple[int, ...] = ()


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def within_any(name: str, packages: tuple[str, ...]) -> bool:
    return any(within(name, each) for each in packages)


def is_ours(name: str) -> bool:
    return within_any(name, OURS)


def ranked_package(name: str) -> str | None:
    return next((package for package in RANK if within(name, package)), None)


def adapter_of(name: str) -> str | None:
    package = ranked_package(name)
    return package if package is not None and package.startswith("adapters.") else None


def is_simulator(name: str) -> bool:
    return adapter_of(name) is not None and any(part.startswith("simulator") for part in name.split("."))


def is_codec(name: str) -> bool:
    return adapter_of(name) is not None and not is_simulator(name) and name.rpartition(".")[2] in CODECS


# --- reading ----------------------------------------------------------------------------------------------------------


def read_module(path: Path, root: Path = ROOT) -> Module:
    relative = path.relative_to(root).with_suffix("")
    is_package = relative.name == "__init__"
    name = ".".join(relative.parent.parts if is_package else relative.parts)
    text = path.read_text()
    return read_cython(name, text) if path.suffix == ".pyx" else read_python(name, text, is_package)


def read_python(name: str, text: str, is_package: bool = False) -> Module:
    """Every import statement, wherever it stands: inside functions and under TYPE_CHECKING, too."""
    imports: set[str] = set()
    clock_reads: list[int] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(name, is_package, node.module, node.level)
            imports |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
            clock_reads.append(node.lineno)
    return Module(name, frozenset(imports), tuple(clock_reads))


def absolute(name: str, is_package: bool, module: str | None, level: int) -> str:
    if level == 0:
        return module or ""
    parts = name.split(".")
    kept = parts[: len(parts) - level + is_package]
    return ".".join([*kept, *([module] if module else [])])


CYTHON_IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+\(?\s*(\w+|\*)|c?import\s+([\w.]+))", re.MULTILINE)


def read_cython(name: str, text: str) -> Module:
    """Cython is no Python to `ast`. Of a parenthesised import the module and the first name are read."""
    found = CYTHON_IMPORT.findall(text)
    return Module(name, frozenset(plain or f"{base}.{first}" for base, first, plain in found))


# --- judging ----------------------------------------------------------------------------------------------------------


def violations(module: Module) -> list[str]:
    rules = (stubs_rule, simulator_rule, left_rule, pure_rule)
    return [f"{module.name} {fault}" for rule in rules for fault in rule(module)]


def stubs_rule(module: Module) -> list[str]:
    if within_any(module.name, ("switch.api", CLIENT, *WIRING, *OUTSIDE)):
        return []
    return [f"imports the stubs: {each}" for each in sorted(module.imports) if within(each, STUBS)]


def simulator_rule(module: Module) -> list[str]:
    """Who imports a simulator, and what a simulator imports of ours."""
    imports = sorted(each for each in module.imports if is_ours(each))
    if module.name == SIMULATION:
        return [f"imports {each}" for each in imports if not within(each, "switch.domain")]
    if not is_simulator(module.name):
        if within_any(module.name, OUTSIDE):
            return []
        return [f"imports a simulator: {each}" for each in imports if is_simulator(each) or within(each, SIMULATION)]
    return [f"is a simulator and imports {each}" for each in imports if not open_to_simulator(module.name, each)]


def open_to_simulator(simulator: str, imported: str) -> bool:
    adapter = adapter_of(simulator)
    if within_any(imported, (SIMULATION, "switch.domain")):
        return True
    if adapter == "adapters.issuer" and within(imported, CLIENT):
        return True
    if adapter is None or not within(imported, adapter):
        return False
    # A dialect of the adapter's has a folder of its own, with the same names in it.
    inside = imported.removeprefix(adapter).lstrip(".").removeprefix("pos.").split(".")
    return inside[0].startswith("simulator") or inside[0] in SHARED_WITH_SIMULATORS


def left_rule(module: Module) -> list[str]:
    """Only to the left, and not sideways. What stands outside the arrows has rules of its own."""
    if within_any(module.name, (*WIRING, *OUTSIDE, SIMULATION)) or is_simulator(module.name):
        return []
    imports = sorted(each for each in module.imports if is_ours(each) and not within(each, package_of(module.name)))
    return [f"imports {each}" for each in imports if not may_import(module.name, each)]


def package_of(name: str) -> str:
    return ranked_package(name) or ".".join(name.split(".")[:2])


def may_import(name: str, imported: str) -> bool:
    if within(name, "hsm"):
        return within(imported, "hsm")
    if within(name, CLIENT):
        return within_any(imported, OPEN_TO_CLIENT)
    here, there = ranked_package(name), ranked_package(imported)
    return here is not None and there is not None and RANK[there] < RANK[here]


def pure_rule(module: Module) -> list[str]:
    """No I/O, no clock, no log. `domain` is a leaf: nothing but the standard library."""
    faults = []
    if is_codec(module.name) or within_any(module.name, PURE):
        faults += [f"is pure and imports {each}" for each in sorted(module.imports) if each.split(".")[0] in WORLD]
        faults += [f"is pure and asks the time in line {line}" for line in module.clock_reads]
    if within(module.name, "switch.domain"):
        foreign = sorted(each for each in module.imports if each.split(".")[0] not in sys.stdlib_module_names)
        faults += [f"is a leaf and imports {each}" for each in foreign if not within(each, "switch.domain")]
    return faults


# --- the house --------------------------------------------------------------------------------------------------------


def modules() -> list[Module]:
    paths = (path for package in OURS for path in sorted((ROOT / package).rglob("*.py*")))
    return [read_module(path) for path in paths if path.suffix in {".py", ".pyx"}]


def test_every_module_of_the_house_keeps_the_rule() -> None:
    found = modules()
    assert {"switch.domain.states", "switch.ports", "hsm", "adapters.simulation"} <= {each.name for each in found}
    assert [fault for module in found for fault in violations(module)] == []


def test_every_package_has_its_place() -> None:
    """A new package must be put between the arrows, or it would be judged by no rule."""
    placed = (*RANK, *WIRING, *OUTSIDE, CLIENT, SIMULATION, "hsm")
    homeless = [each.name for each in modules() if each.name not in {"switch", "adapters"}]
    assert [name for name in homeless if not within_any(name, placed)] == []


# --- the checker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("switch.domain.money", "import attrs"),
        ("switch.domain.money", "import asyncio"),
        ("switch.domain.money", "from switch import ports"),
        ("switch.domain.money", "from datetime import datetime\nx = datetime.now()"),
        ("switch.ports", "from switch.payments.road import Road"),
        ("switch.store.journal", "from switch.risk import rules"),
        ("switch.store.journal", "from switch import payments"),
        ("switch.entry.emv", "import structlog"),
        ("switch.ops.metrics", "from switch.store import journal"),
        ("switch.payments.road", "def later():\n    from switch.api import answers"),
        ("switch.payments.road", "from payswitch.v1 import common_pb2"),
        ("switch.payments.road", "import hsm"),
        ("switch.api.answers", "import switch.app"),
        ("switch.api.answers", "import switch.client"),
        ("switch.client.acquirer", "from switch.payments import road"),
        ("switch.client.issuer", "from adapters.issuer.channel import IssuerChannel"),
        ("switch.app", "from adapters.unionpay.simulator import UnionPaySimulator"),
        ("hsm.algorithms", "from switch.domain.states import State"),
        ("hsm.algorithms", "import adapters"),
        ("adapters.unionpay.codec", "import socket"),
        ("adapters.unionpay.codec", "from time import time"),
        ("adapters.unionpay.codec", "import logging"),
        ("adapters.unionpay.channel", "from adapters.wechat import codec"),
        ("adapters.unionpay.channel", "from adapters.unionpay import simulator"),
        ("adapters.unionpay.channel", "from adapters.simulation import Behaviour"),
        ("adapters.unionpay.channel", "from payswitch.v1 import common_pb2"),
        ("adapters.unionpay.simulator.network", "from adapters.unionpay import mac"),
        ("adapters.unionpay.pos.codec", "import socket"),
        ("adapters.unionpay.pos.simulator", "from adapters.unionpay import mac"),
        ("adapters.unionpay.pos.simulator", "from switch.terminals import desk"),
        ("adapters.unionpay.pos.simulator", "from hsm import algorithms"),
        ("switch.terminals.door", "from payswitch.v1 import common_pb2"),
        ("switch.terminals.door", "from adapters.unionpay.pos import simulator"),
        ("switch.terminals.door", "from switch.api import answers"),
        ("switch.terminals.requests", "import structlog"),
        ("adapters.unionpay.simulator.network", "from adapters.unionpay.channel import UnionPayChannel"),
        ("adapters.unionpay.simulator.network", "from hsm import algorithms"),
        ("adapters.unionpay.simulator.network", "from switch.client import AcquirerClient"),
        ("adapters.alipay.simulator", "from adapters.unionpay.simulator import UnionPaySimulator"),
        ("adapters.issuer.simulator", "from payswitch.v1 import issuer_pb2"),
        ("adapters.simulation", "from adapters.alipay.simulator import AlipaySimulator"),
    ],
)
def test_a_violation_is_found(name: str, source: str) -> None:
    assert violations(read_python(name, source))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("switch.domain.authorization", "from switch.domain.money import Money\nimport hashlib"),
        ("switch.ports", "import asyncio\nfrom switch.domain.money import Money"),
        ("switch.payments.road", "from switch.risk.rules import RuleSet\nfrom switch import ports"),
        ("switch.api.answers", "from payswitch.v1 import common_pb2\nfrom switch.payments import errors"),
        ("switch.client.acquirer", "from payswitch.v1 import common_pb2\nimport grpc"),
        ("switch.app", "import hsm.algorithms\nfrom adapters.unionpay.channel import UnionPayChannel"),
        ("switch.demo.run", "from adapters.unionpay.simulator import UnionPaySimulator\nimport switch.app"),
        (
            "adapters.unionpay.channel",
            "import asyncio\nfrom switch.ports import Hsm\nfrom adapters.unionpay import codec",
        ),
        ("adapters.unionpay.simulator.network", "from adapters.unionpay import _codec\nimport cryptography"),
        ("adapters.unionpay.pos.simulator", "from adapters.unionpay.pos import codec\nimport cryptography, asyncio"),
        (
            "switch.terminals.desk",
            "from adapters.unionpay.pos.codec import decode\nfrom switch.payments.road import Road",
        ),
        ("adapters.issuer.simulator", "from switch.client import IssuerConnection\nfrom adapters import simulation"),
    ],
)
def test_what_is_allowed_passes(name: str, source: str) -> None:
    assert violations(read_python(name, source)) == []


def test_relative_imports_are_resolved() -> None:
    module = read_python(
        "adapters.unionpay.channel", "from ..wechat import codec\nfrom . import link\nfrom .link import Link"
    )
    assert module.imports == {"adapters.wechat.codec", "adapters.unionpay.link", "adapters.unionpay.link.Link"}
    package = read_python("adapters.unionpay", "from .link import Link", is_package=True)
    assert package.imports == {"adapters.unionpay.link.Link"}


def test_cython_imports_are_read() -> None:
    text = (
        "cimport cython\nfrom libc.string cimport memcpy\nimport asyncio\n    from switch.ports import (\n    Hsm,\n)\n"
    )
    module = read_cython("adapters.unionpay._codec", text)
    assert module.imports >= {"cython", "libc.string.memcpy", "asyncio"}
    assert violations(module) == ["adapters.unionpay._codec is pure and imports asyncio"]
    assert violations(read_cython("hsm._core", "from switch.domain cimport money"))


def test_files_are_named_by_their_place(tmp_path: Path) -> None:
    package = tmp_path / "switch" / "entry"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .tlv import read\n")
    (package / "_tlv.pyx").write_text("import time\n")
    assert read_module(package / "__init__.py", tmp_path) == Module(
        "switch.entry", frozenset({"switch.entry.tlv.read"})
    )
    assert read_module(package / "_tlv.pyx", tmp_path).name == "switch.entry._tlv"
