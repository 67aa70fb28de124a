"""``python -m hcache dashboard``: the pages, served from a checkout or from the installed
package.
"""

from __future__ import annotations

import argparse
import errno
import os
import runpy
import socket
import sys
from typing import Any

from ..cache.layout import writable_home
from ..dashboard import dashboard_script
from ..errors import UsageError
from .result import Result

LOCAL = "127.0.0.1"


def dashboard(arguments: argparse.Namespace) -> Result:
    """Serves the pages until it is interrupted. Streamlit runs in this process, so that signals
    reach it.
    """
    home, script = writable_home(arguments.home).resolve(), dashboard_script()
    check_address(arguments.host, arguments.port)
    os.environ["HCACHE_HOME"] = str(home)
    options = ["--server.address", arguments.host]
    if arguments.port is not None:
        options += ["--server.port", str(arguments.port)]
    code = run_streamlit([str(script), *options])
    return Result(
        text="the dashboard has ended",
        data={"home": str(home), "script": str(script)},
        exit_code=code,
    )


def check_address(host: str, port: int | None) -> None:
    """Refuses an address where no server can listen.

    Args:
        host: A name or an address of this machine.
        port: None for any; Streamlit then takes 8501, or the next that is free.

    Raises:
        UsageError: the port is in use or not allowed, or the host is none of this machine's.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host, port or 0), family=family).close()
    except OSError as error:
        raise UsageError(_in_words(error, host, port)) from error


def _in_words(error: OSError, host: str, port: int | None) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} of {host} is in use; choose another with --port, or leave --port out to"
            " take a free one"
        )
    if error.errno == errno.EACCES:
        return (
            f"port {port} of {host} is not allowed to this user; choose one above 1023 with --port"
        )
    why = (
        os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    )  # negative of a name's look-up
    return f"no server can listen at {host} ({why}); choose an address of this machine with --host"


def run_streamlit(arguments: list[str]) -> int:
    """Runs ``streamlit run`` with these arguments, and returns its exit code.

    As ``python -m streamlit`` does it.
    """
    before = sys.argv
    sys.argv = ["streamlit", "run", *arguments]
    try:
        runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    finally:
        sys.argv = before
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f"expected 1 to 65535, got {text!r}")
    return int(text)


def add_dashboard(command: Any) -> None:
    """Adds its parser."""
    child = command("dashboard", dashboard, "Serve the dashboard's pages, until Ctrl-C.")
    child.add_argument(
        "--port", type=_port, help="port to listen on (default: 8501, or the next free one)"
    )
    child.add_argument(
        "--host",
        default=LOCAL,
        help=(
            "address to listen on (default: 127.0.0.1, this machine only; 0.0.0.0 admits the whole"
            " network, without a password)"
        ),
    )
