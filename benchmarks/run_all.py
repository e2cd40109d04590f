"""Run every benchmark, one after the other, and say how long it all took.

    python benchmarks/run_all.py              all of them
    python benchmarks/run_all.py q_learning   only bench_q_learning.py

Each `bench_*.py` runs in a process of its own, prints its table and ends with a non-zero exit code if it failed or a
ratio measured in this run missed its target; so does this script if one of them did. Times are shown only.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).resolve().parent


def machine() -> str:
    """Cores and versions, in one line."""
    names = ("numpy", "casadi")
    packages = ", ".join(f"{name} {_version(name)}" for name in names)
    return f"{_cores()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, {packages}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks.")
    parser.add_argument("names", nargs="*", help="only these: NAME or bench_NAME.py")
    arguments = parser.parse_args()

    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    wanted = [name.removesuffix(".py").removeprefix("bench_") for name in arguments.names] or list(scripts)
    unknown = [name for name in wanted if name not in scripts]
    if unknown or not scripts:
        print(f"no such benchmark: {', '.join(unknown) or 'bench_*.py'}; there are: {', '.join(scripts) or 'none'}")
        return 2

    print(machine(), flush=True)
    started, failed = time.perf_counter(), []
    for name in wanted:
        print(f"\n== {name}", flush=True)
        begun = time.perf_counter()
        code = subprocess.run([sys.executable, str(scripts[name])]).returncode
        if code != 0:
            failed.append(name)
            print(f"   FAILED: {name} (exit code {code})")
        print(f"   {time.perf_counter() - begun:.1f} s", flush=True)

    print(f"\n{len(wanted) - len(failed)} of {len(wanted)} benchmarks passed in {time.perf_counter() - started:.1f} s")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _cores() -> int:
    """Cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


if __name__ == "__main__":
    sys.exit(main())
