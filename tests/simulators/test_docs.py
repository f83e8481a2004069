"""The examples of docs/simulators.md run as they stand, against simulators that run alone."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from alone import Alone
from node import NODE, SCRIPTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "simulators.md").read_text()


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def run(folder: Path, *command: str) -> str:
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.fixture
def folder(tmp_path: Path, client_config: dict[str, Any]) -> Path:
    (tmp_path / "client.json").write_text(json.dumps(client_config))
    return tmp_path


@pytest.mark.parametrize("example", examples("python"), ids=["alipay", "wechat"])
async def test_the_python_clients_pay(folder: Path, example: str) -> None:
    await run(folder, sys.executable, "-c", example)


@pytest.mark.parametrize("example", examples("js"), ids=["alipay", "wechat"])
async def test_the_node_clients_pay(folder: Path, example: str) -> None:
    (folder / "node_modules").symlink_to(SCRIPTS / "node_modules")
    (folder / "example.mjs").write_text(example)
    await run(folder, str(NODE), "example.mjs")


async def test_what_curl_is_shown_to_do_is_done(tmp_path: Path) -> None:
    """To simulators of its own: faults are set, a day is closed."""
    alone = Alone(tmp_path)
    alone.config()
    start, *shell = examples("sh")
    assert start.startswith("payswitch simulators")
    assert len(shell) >= 6
    # One shell for all: later examples use what the first has set.
    said = await run(tmp_path, "bash", "-euc", "\n".join(shell))
    assert '"routes"' in said
    assert alone.end()[0] == 0


def test_the_page_names_every_field_of_the_file(client_config: dict[str, Any]) -> None:
    names = {name for part in ("alipay", "wechat", "unionpay") for name in client_config[part]}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
    assert sorted(name for name in client_config["alipay"]["codes"] if f"`{name}`" not in PAGE) == []
