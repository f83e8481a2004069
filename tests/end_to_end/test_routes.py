"""A routing plan goes live, is refused and is taken back, while the switch runs and payments go on."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from shop import SETTLE_TIMEOUT_S, UNIONPAY, Shop

from switch import config

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLAN = """
name = "end to end"
[[rules]]
name = "everything"
channels = ["unionpay"]
[[expect]]
name = "a card"
card = "6225"
first = "unionpay"
"""


async def routes(shop: Shop, *arguments: str) -> tuple[int, str]:
    """`payswitch routes` as a process of its own; what it says on standard output, or else on standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "switch.cli", "routes", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, config.CONFIG_VARIABLE: str(shop.environment.config_path)},
    )  # fmt: skip
    said, complained = await process.communicate()
    return process.returncode or 0, (said or complained).decode()


async def explained(shop: Shop) -> str:
    """Of a new payment, as `Get` shows it."""
    return (await shop.shown(await shop.pay(UNIONPAY))).route_explanation


async def until_ready_says(shop: Shop, line: str) -> None:
    until_s, url = time.monotonic() + SETTLE_TIMEOUT_S, f"{shop.environment.operations_url}/readyz?verbose"
    while line not in (said := await shop.environment.get_text(url)):
        assert time.monotonic() < until_s, said
        await asyncio.sleep(0.1)


async def test_a_plan_is_exchanged_under_a_running_switch(shop: Shop, tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(PLAN)
    switch = shop.environment.switch
    pid = switch.pid if switch else 0
    assert await explained(shop) == "plan 0, rule cards: unionpay"

    status, said = await routes(shop, "load", str(file))
    assert (status, said.partition(":")[0]) == (0, "version 1")
    assert await explained(shop) == "plan 0, rule cards: unionpay"
    assert await routes(shop, "activate", "1") == (0, "version 1 is live instead of 0\n")
    await until_ready_says(shop, "[+] routing: plan 1 (end to end), rules: 1, PAN ranges: 0")
    assert await explained(shop) == "plan 1, rule everything: unionpay"
    metrics = await shop.environment.get_text(f"{shop.environment.operations_url}/metrics")
    assert "payswitch_routing_plan_version 1.0" in metrics

    file.write_text(PLAN.replace('channels = ["unionpay"]', 'channels = ["visa"]'))
    status, said = await routes(shop, "load", str(file))
    assert status == 1
    assert "rules[0].channels[0]: there is no channel 'visa'" in said
    assert await explained(shop) == "plan 1, rule everything: unionpay"

    assert (await routes(shop, "rollback"))[0] == 0
    await until_ready_says(shop, "[+] routing: plan 0 (settings)")
    assert await explained(shop) == "plan 0, rule cards: unionpay"
    assert switch is shop.environment.switch
    assert switch is not None
    assert switch.pid == pid
