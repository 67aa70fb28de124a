"""``hcache dashboard``: what it starts, and every place that it refuses in one line. No server
is started here.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import hcache.dashboard as places
from hcache.cli import dashboard as command
from hcache.cli.main import build_parser, main, parsers
from hcache.errors import UsageError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def started(monkeypatch):
    """What Streamlit is started with, in place of a server; the environment as it was
    afterwards.
    """
    found = []
    monkeypatch.setenv("HCACHE_HOME", "/nowhere")
    monkeypatch.setattr(command, "run_streamlit", lambda arguments: found.append(arguments) or 0)
    return found


def refused(capsys, *argv):
    assert main(["dashboard", *argv]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_the_pages_are_served_for_this_machine_alone_by_default(started, tmp_path, capsys):
    assert main(["dashboard", "--home", str(tmp_path / "a home")]) == 0
    assert started == [[str(ROOT / "dashboard.py"), "--server.address", "127.0.0.1"]]
    assert (
        os.environ["HCACHE_HOME"] == str(tmp_path / "a home")
        and (tmp_path / "a home" / "runs").is_dir()
    )


def test_port_and_host_are_passed_on(started, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert (
        main(["dashboard", "--home", str(tmp_path), "--port", str(port), "--host", "localhost"])
        == 0
    )
    assert started[0][1:] == ["--server.address", "localhost", "--server.port", str(port)]


def test_a_busy_port_is_said(started, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        line = refused(capsys, "--home", str(tmp_path), "--port", str(port))
    assert f"port {port} of 127.0.0.1 is in use; choose another with --port" in line and not started


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "80.5", ""])
def test_what_is_no_port_is_said(started, capsys, port):
    line = refused(capsys, f"--port={port}")
    assert f"expected 1 to 65535, got {port!r}" in line and not started


def test_a_host_that_is_not_this_machine_is_said(started, tmp_path, capsys):
    line = refused(
        capsys, "--home", str(tmp_path), "--host", "192.0.2.1"
    )  # RFC 5737: an address of no machine
    assert (
        "192.0.2.1" in line
        and "choose an address of this machine with --host" in line
        and not started
    )


def test_a_port_that_needs_more_rights_is_said(monkeypatch):
    def create_server(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", create_server)
    with pytest.raises(
        UsageError, match="port 80 of 127.0.0.1 is not allowed to this user; choose one above 1023"
    ):
        command.check_address("127.0.0.1", 80)


def test_a_home_on_a_disk_that_is_read_only_is_said(started, tmp_path, monkeypatch, capsys):
    def mkdir(self, *_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    line = refused(capsys, "--home", str(tmp_path / "home"))
    assert (
        "cannot be written (Read-only file system); choose another with --home or HCACHE_HOME"
        in line
        and not started
    )


def test_streamlit_is_run_as_its_own_command_line_would(monkeypatch):
    seen = []
    before = list(sys.argv)

    def run_module(name, run_name, alter_sys):
        seen.append((name, run_name, list(sys.argv)))
        raise SystemExit(3)

    monkeypatch.setattr(command.runpy, "run_module", run_module)
    assert command.run_streamlit(["dashboard.py"]) == 3 and sys.argv == before
    assert seen == [("streamlit", "__main__", ["streamlit", "run", "dashboard.py"])]


def test_the_installed_script_goes_before_the_one_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "__file__", str(tmp_path / "hcache" / "dashboard.py"))
    with pytest.raises(UsageError, match="there is no dashboard.py in .*; install hcache again"):
        places.dashboard_script()
    for folder in (tmp_path, tmp_path / "hcache" / "app"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "dashboard.py").touch()
        assert places.dashboard_script() == folder / "dashboard.py"


def test_the_command_is_named_as_it_was_typed(monkeypatch):
    for typed, prog in (
        ("/usr/bin/hcache", "hcache"),
        ("/a/hcache/__main__.py", "python -m hcache"),
    ):
        monkeypatch.setattr(sys, "argv", [typed])
        parsers.cache_clear()
        assert build_parser().prog == prog
    parsers.cache_clear()


def test_a_python_too_old_is_said_in_one_line(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 10, 4)")
    done = subprocess.run(
        [sys.executable, "-m", "hcache", "runs"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    (line,) = done.stderr.strip().splitlines()
    assert (
        done.returncode == 1
        and "hcache needs Python 3.11 or newer, and this is 3.10; start it with" in line
    )
