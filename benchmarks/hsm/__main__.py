"""`python -m benchmarks.hsm`: see the package."""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.hsm.own import OPERATIONS, provide
from benchmarks.hsm.page import write
from benchmarks.hsm.rounds import run
from benchmarks.hsm.soak import soak
from hsm.direct import DirectHsm
from hsm.token import create_token


def main(arguments: list[str] | None = None) -> int:
    """0, or 1 if the soak had failures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hsm", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="of each measurement, or of the soak (60 by default)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="operations whose name contains this")
    parser.add_argument("--soak", action="store_true", help="four clients and a key rotation, instead of the table")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results") / time.strftime("hsm-%Y%m%d-%H%M%S"))
    options = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="payswitch-bench-") as temporary:
        directory = create_token(Path(temporary) / "token")
        with_keys = DirectHsm.open(directory)
        provide(with_keys.store)
        with_keys.close()
        if options.soak:
            return _soak(directory, 60.0 if options.seconds == parser.get_default("seconds") else options.seconds)
        operations = [each for each in OPERATIONS if options.only in each.name]
        measured = run(directory, options.seconds, options.rounds, operations)
    print(write(measured, operations, options.output))
    return 0


def _soak(directory: Path, seconds: float) -> int:
    soaked = asyncio.run(soak(directory, seconds))
    rotated = sum(old != new for old, new in zip(soaked.before, soaked.after, strict=True))
    print(f"{soaked.items:,} commands in {soaked.seconds:.0f} s, {rotated} keys rotated in the middle, "
          f"failures: {soaked.failures or 'none'}")  # fmt: skip
    return 1 if soaked.failures or rotated != len(soaked.before) else 0


if __name__ == "__main__":
    sys.exit(main())
