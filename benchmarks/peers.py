"""Environments of their own for the packages we are measured against.

A peer pins versions that ours must not (``mpcrl`` 1.4.1 needs casadi 3.7.2, we use a newer one), so each lives in
a virtual environment under ``benchmarks/.peers/`` and its script is run there, in another process. Standard
library only.

    python benchmarks/peers.py            make what is missing
    python benchmarks/peers.py --clear    make it afresh
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
HOME = HERE / ".peers"

# What each peer's problem needs; pip chooses the rest (numpy, scipy, gymnasium) for the Python at hand, and the
# peer's script reports the versions it met.
PEERS: dict[str, list[str]] = {
    "mpcrl": ["mpcrl==1.4.1", "csnlp==1.6.8", "casadi==3.7.2"],
    # the rest is what `mpcrl_course.mpc` needs: the MPC as a layer of PyTorch is tried here, too
    "torch": ["torch==2.13.0", "numpy", "scipy", "casadi>=3.8", "daqp>=0.11", "piqp>=0.7", "gymnasium>=1.0"],
}


class PeerError(RuntimeError):
    """The peer's environment could not be made, or its script failed."""


def ensure(peer: str, clear: bool = False) -> Path:
    """Path of the Python that has `peer` installed; makes its environment first if need be.

    A stamp is written when everything is installed: an interrupted or outdated environment has none that
    matches, and is made again from the start.
    """
    if peer not in PEERS:
        raise PeerError(f"unknown peer {peer!r}; known: {', '.join(sorted(PEERS))}")
    folder = HOME / peer
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "ready.json"
    wanted = {"requirements": PEERS[peer], "python": list(sys.version_info[:2])}
    if not clear and python.exists() and _read(stamp) == wanted:
        return python

    _say(f"making an environment for {peer} in {folder}")
    stamp.unlink(missing_ok=True)
    _call(
        [sys.executable, "-I", "-m", "venv", "--clear", str(folder)],
        "could not make a virtual environment (on Debian or Ubuntu: apt install python3-venv)",
    )
    _say(f"installing {' '.join(PEERS[peer])} (about a minute)")
    pip = [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check", "--prefer-binary"]
    _call(pip + PEERS[peer], f"could not install {peer} for Python {sys.version.split()[0]}")
    stamp.write_text(json.dumps(wanted), encoding="utf-8")
    _say(f"{peer} is ready")
    return python


def run(peer: str, script: str, *arguments: str) -> dict[str, Any]:
    """Run ``benchmarks/<script>`` with the Python of `peer` and return the JSON object it prints last.

    What the script writes to standard error is shown. A non-zero exit, or no JSON, raises `PeerError`.
    """
    command = [str(ensure(peer)), "-I", str(HERE / script), *arguments]
    _say(f"running {script} with {peer}")
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
    if done.returncode:
        raise PeerError(f"{script} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as error:
        raise PeerError(f"{script} printed no JSON:\n{done.stdout[-2000:]}") from error
    return dict(answer)


def _call(command: list[str], complaint: str) -> None:
    """Run a command quietly; on failure show the end of what it said."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace")
    if done.returncode:
        raise PeerError(f"{complaint}:\n{done.stdout[-3000:]}")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _say(text: str) -> None:
    print(f"[peers] {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make the environments of the peer packages.")
    parser.add_argument("--clear", action="store_true", help="make them afresh")
    clear = parser.parse_args().clear
    try:
        for peer in PEERS:
            print(f"{peer}: {ensure(peer, clear)}")
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
