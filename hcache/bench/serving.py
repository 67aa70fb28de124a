"""The dashboard's server, started by the first command of the README.

Only two things differ from what a user types: the port (``--server.port``) and the home
(``HCACHE_HOME``).
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from ..errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ".venv"
"""The folder of the README's virtual environment."""

PATIENCE = 120.0
"""The seconds in which a server must answer."""

_LINE = re.compile(r"&& (\S*streamlit run .*)$", re.M)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server; ``began``: the start in ``time.monotonic()``."""

    address: str
    process: psutil.Process
    began: float

    def processor_time(self) -> float:
        """Returns the seconds of processor time that the server has taken.

        Processes that it started do not count.
        """
        spent = self.process.cpu_times()
        return spent.user + spent.system


def typed_command(root: Path = ROOT) -> list[str]:
    """Returns the README's command that starts the dashboard, as a list.

    If ``root`` has no environment of its own, the present one is used.

    Raises:
        UsageError: there is no README with such a line, as in an installed package.
    """
    readme = root / "README.md"
    found = _LINE.findall(readme.read_text(encoding="utf-8")) if readme.is_file() else []
    if len(found) != 1:
        raise UsageError(
            f"{readme} must have one line that starts the dashboard; run this in a checkout of"
            " hcache"
        )
    program, *arguments = shlex.split(found[0])
    if not (root / program).is_file():
        program = str(Path(sys.prefix) / Path(program).relative_to(ENVIRONMENT))
    return [program, *arguments]


@contextlib.contextmanager
def serve(home: Path, root: Path = ROOT, without: Sequence[str] = ()) -> Iterator[Server]:
    """Serves the dashboard for a home on a free port.

    Args:
        home: The home. It may be empty or missing.
        root: The checkout.
        without: Environment variables that the server must not have.

    Raises:
        UsageError: the server did not start. The message has its last output.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in without}
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [*typed_command(root), "--server.port", str(port)],
            cwd=root,
            env={**environment, "HCACHE_HOME": str(home.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
        server = Server(
            address=f"http://127.0.0.1:{port}", process=psutil.Process(process.pid), began=began
        )
        try:
            while not is_healthy(server.address):
                if process.poll() is not None or time.monotonic() > began + PATIENCE:
                    said.seek(0)
                    last = (
                        said.read().decode(errors="replace").strip().splitlines()
                        or ["without a word"]
                    )[-1]
                    raise UsageError(f"the dashboard did not start from {root}: {last}")
                time.sleep(0.05)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def is_healthy(address: str) -> bool:
    """Returns whether a Streamlit server answers there."""
    try:
        return urllib.request.urlopen(f"{address}/_stcore/health", timeout=2).read() == b"ok"
    except OSError:
        return False
