"""The dashboard's server as a user starts it: to whom it answers, and what pages may do with its
answers.
"""

import asyncio
import socket
import tomllib
from pathlib import Path

import pytest
from tiny import PATIENCE

import hcache
from hcache.bench.serving import serve
from hcache.ui.server import HEADERS, Guard, is_allowed

ROOT = Path(hcache.__file__).parent.parent
PATHS = (
    "/",
    "/extract",
    "/_stcore/health",
    "/_stcore/host-config",
    "/media/x.png",
    "/_stcore/upload_file/a/b",
    "/component/x/index.html",
    "/no/such/page",
)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """That of a server which was started by the command in the README, with nothing but a port
    of its own.
    """
    home = tmp_path_factory.mktemp("served home")
    (home / "runs" / "no demo").mkdir(parents=True)
    with serve(home) as server:
        yield int(server.address.rpartition(":")[2])


def ask(port, path, host, method="GET", **headers):
    """Status and headers of an answer; the Host is as given, wherever it would point to."""
    lines = [
        f"{method} {path} HTTP/1.1",
        f"Host: {host}",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        text = b""
        while b"\r\n\r\n" not in text and (more := connection.recv(4096)):
            text += more
    first, *rest = text.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(first.split()[1]), {
        k.lower(): v for k, _, v in (line.partition(": ") for line in rest)
    }


def shake_hands(port, host, origin):
    """The status with which the server answers to a WebSocket that a page would open."""
    more = {"Origin": origin} if origin else {}
    return ask(
        port,
        "/_stcore/stream",
        host,
        Upgrade="websocket",
        Connection="Upgrade",
        Sec_WebSocket_Version="13",
        Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ==",
        Sec_WebSocket_Protocol="streamlit",
        **more,
    )[0]


@pytest.mark.parametrize("path", PATHS)
def test_a_foreign_host_gets_nothing(port, path):
    """DNS rebinding: the name of the attacker's page, pointed to this machine, is what the
    browser sends as Host.
    """
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"localhost.evil.example:{port}",
        f"127.0.0.1.evil:{port}",
        "",
    ):
        status, headers = ask(port, path, host)
        assert status in (400, 421), (host, path)
    assert ask(port, path, f"localhost:{port}")[0] != 421


def test_no_page_may_frame_it_or_fetch_pictures_from_elsewhere(port):
    for path in PATHS:
        _, headers = ask(port, path, f"127.0.0.1:{port}")
        assert headers["x-frame-options"] == "DENY", path
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert (
            policy["frame-ancestors"] == "'none'"
            and "http" not in policy["img-src"]
            and "*" not in policy["img-src"]
        )
        assert "access-control-allow-origin" not in headers


def test_only_its_own_page_may_open_the_stream(port):
    own = f"localhost:{port}"
    assert shake_hands(port, own, f"http://{own}") == 101
    assert shake_hands(port, own, "http://evil.example") == 403, "a foreign page"
    assert shake_hands(port, own, "null") == 403, "a page of no origin, as in a sandboxed frame"
    assert shake_hands(port, "evil.example", "http://evil.example") == 403, (
        "a rebound name is its own origin"
    )


def test_a_foreign_page_cannot_upload(port):
    own = f"localhost:{port}"
    status, headers = ask(
        port,
        "/_stcore/upload_file/session/file",
        own,
        "PUT",
        Origin="http://evil.example",
        Content_Length="0",
    )
    assert status == 403 and headers.get("access-control-allow-origin") != "http://evil.example"


def test_the_settings_are_those_of_a_server_that_is_started_as_typed():
    server = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["server"]
    assert (
        server["allowedHosts"] == ["localhost", "127.0.0.1", "::1"]
        and server["address"] == "127.0.0.1"
    )
    assert (
        server["enableCORS"]
        and server["enableXsrfProtection"]
        and "corsAllowedOrigins" not in server
    )
    assert not server.get("enableAgentApi", False)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.:8501", True),
        ("[::1]:8501", True),
        ("127.0.0.1:1", True),
        ("a.lab.org", True),
        ("lab.org", False),
        ("xlab.org", False),
        ("", False),
        ("evil", False),
        ("localhost.evil", False),
        ("[::2]", False),
        ("localhost@evil", False),
        ("evil:localhost", False),
        ("a.lab.org.evil:80", False),
    ],
)
def test_a_host_is_allowed_by_its_whole_name(host, expected):
    assert is_allowed(host, ["localhost", "127.0.0.1", "::1", "*.lab.org"]) == expected
    assert is_allowed(host, ["*"]) and not is_allowed(host, [])


def test_the_guard_lets_what_is_no_request_pass():
    """An application's start and end have no host."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app)({"type": "lifespan"}, None, None))
    assert seen == ["lifespan"] and "Content-Security-Policy" in HEADERS
