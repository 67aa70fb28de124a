"""Who is let in where a login was set up; and the proxy's configuration in
docs/how-to/shared-server.md.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import hcache
from hcache.ui import login

DOCS = Path(hcache.__file__).parent.parent / "docs" / "how-to" / "shared-server.md"
ALLOWED = ["you@lab.example", "*@group.example"]


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ({"email": "you@lab.example"}, True),
        ({"email": "YOU@LAB.example", "email_verified": True}, True),
        ({"email": "any@group.example"}, True),
        ({"email": "any@sub.group.example"}, False),
        ({"email": "you@lab.example", "email_verified": False}, False),
        ({"email": "a@evil.example"}, False),
        ({"email": "x@you@lab.example"}, False),
        ({"email": ""}, False),
        ({"email": "@group.example"}, False),
        ({}, False),
    ],
)
def test_who_is_named_is_let_in(user, expected):
    assert login.is_named(user, ALLOWED) == expected
    for none in ([], None, "you@lab.example", 7, True, {"you@lab.example": 1}, [7]):
        assert not login.is_named(user, none), "a list of addresses is needed"


@pytest.mark.parametrize("page", [None, "pages/extract.py", "pages/edit.py"])
def test_a_page_shows_nothing_before_the_login(page, copied_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.secrets["auth"] = {"client_id": "x"}
    if page:
        app.switch_page(page)
    app.run()
    assert not app.exception and [button.key for button in app.button] == ["log-in"]
    assert not app.title and not app.selectbox and not app.dataframe


def test_without_a_login_set_up_all_is_as_ever(copied_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HCACHE_HOME", str(tmp_path / "copy"))
    app = AppTest.from_file("../dashboard.py", default_timeout=60).run()
    assert not app.exception and app.title[0].value == "Overview"


def test_the_documented_configuration_is_one_that_nginx_takes(tmp_path):
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    (text,) = re.findall(r"```nginx\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.S)
    key, certificate = tmp_path / "hcache.key", tmp_path / "hcache.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=x",
            "-keyout",
            str(key),
            "-out",
            str(certificate),
        ],
        check=True,
        capture_output=True,
    )
    text = text.replace("/etc/ssl/certs/hcache.pem", str(certificate)).replace(
        "/etc/ssl/private/hcache.key", str(key)
    )
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{text}\n}}\n")
    done = subprocess.run(
        [nginx, "-t", "-p", str(tmp_path), "-c", str(config)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
