"""The command line: every command in text and JSON, every failure in one line with its exit
code.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

import hcache
from hcache.cache.layout import RUN_JSON
from hcache.cache.plan import make_plan
from hcache.cards import load_cards
from hcache.cli.main import main, parsers

COMMANDS = (
    "models",
    "anatomy",
    "estimate",
    "extract",
    "invert",
    "convert-adm",
    "convert-ddpm",
    "runs",
    "info",
    "cancel",
    "tasks",
    "verify",
    "repair",
    "labels-import",
    "labels-export",
    "labels-accept",
    "commit",
    "export",
    "render",
    "figure",
    "measure",
    "edit-steps",
    "attention",
    "compare",
    "probe",
    "read",
    "reader",
    "bench",
    "dashboard",
    "background",
    "schema",
    "direction",
)
UNDER = {"direction": ("fit", "list", "show", "delete", "import"), "reader": ("list", "delete")}
"""Commands that have commands of their own."""


def out_of(capsys, *argv):
    """What a command prints, having succeeded."""
    code = main(argv)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def json_of(capsys, *argv):
    return json.loads(out_of(capsys, *argv, "--json"))


def failure(capsys, code, *argv):
    """The one line of a command that fails with this exit code, and with nothing on stdout."""
    assert main(argv) == code
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    *before, line = printed.err.strip().splitlines()
    assert line.startswith("hcache: ") and not before, printed.err
    return line


@pytest.fixture
def folder(tiny_folder):
    return str(tiny_folder)


def test_models(capsys):
    found = json_of(capsys, "models")
    assert [model["name"] for model in found] == list(load_cards())
    assert all({"name", "title", "summary", "source", "licence"} <= model.keys() for model in found)
    text = out_of(capsys, "models")
    assert all(name in text for name in load_cards())


def test_anatomy(capsys, folder, tiny_model):
    found = json_of(capsys, "anatomy", folder)
    anatomy = tiny_model.anatomy
    assert (
        list(found["sites"]) == list(anatomy.all_sites)
        and found["parameters"] == anatomy.parameters
    )
    for site, facts in found["sites"].items():
        assert [tuple(shape) for shape in facts["shapes"]] == [
            anatomy.shape(m) for m in anatomy.members(site)
        ]
    assert found["sites"]["h"] == {"shapes": [[16, 4, 4]], "float16_bytes": 512, "pooled_bytes": 32}
    text = out_of(capsys, "anatomy", folder)
    assert "16x4x4" in text and "512 B" in text and all(site in text for site in anatomy.sites)


def test_estimate_prints_bytes_per_site_and_runs_nothing(
    capsys, folder, tiny_spec, tiny_model, isolated_home
):
    store = [
        part for site, policy in tiny_spec.store.items() for part in ("--store", f"{site}={policy}")
    ]
    arguments = ("estimate", folder, "--samples", "12", "--steps", "4", "--batch", "5", *store)
    found = json_of(capsys, *arguments)
    plan = make_plan(tiny_spec, tiny_model.anatomy)
    assert found == {"run": tiny_spec.name, "bytes": plan.parts, "total": plan.total}
    text = out_of(capsys, *arguments)
    for line in ("h         full", "skip.2    pooled", "total"):
        assert any(shown.startswith(line) for shown in text.splitlines()), text
    assert not isolated_home.exists()


def test_extract_runs_and_info(capsys, folder, tmp_path):
    home = ("--home", str(tmp_path / "new home"))
    assert json_of(capsys, "runs", *home) == [] and "no runs" in out_of(capsys, "runs", *home)
    made = json_of(
        capsys, "extract", folder, "--samples", "3", "--steps", "2", "--store", "h", *home
    )
    assert made["samples"] == made["of"] == 3 and made["state"] == "complete" and made["bytes"] > 0
    assert (Path(made["folder"]) / RUN_JSON).is_file()
    assert json_of(capsys, "runs", *home) == [made]
    assert f"{made['name']}      3/3" in out_of(capsys, "runs", *home)
    info = json_of(capsys, "info", made["name"], *home)
    assert (
        info.items() >= made.items()
        and info["spec"]["store"] == {"h": "full"}
        and len(info["timesteps"]) == 2
    )
    text = out_of(capsys, "info", made["name"], *home)
    assert "h full" in text and "complete" in text
    more = out_of(
        capsys, "extract", folder, "--samples", "5", "--steps", "2", "--store", "h", *home
    )
    assert f"{made['name']}: 5 samples" in more


def test_the_home_is_an_option_or_the_environments(capsys, tiny_run, tiny_home, monkeypatch):
    named = json_of(capsys, "runs", "--home", str(tiny_home))
    monkeypatch.setenv("HCACHE_HOME", str(tiny_home))
    assert json_of(capsys, "runs") == named and tiny_run.name in [run["name"] for run in named]


def test_taking_up_a_run_says_which_libraries_changed(capsys, copied_run, folder, tmp_path):
    arguments = [
        "extract",
        folder,
        "--samples",
        "12",
        "--steps",
        "4",
        "--store",
        "h",
        "--store",
        "skip.1",
        "--store",
        "skip.2=pooled",
        "--store",
        "skip.3=pooled",
        "--home",
        str(tmp_path / "copy"),
    ]
    assert main(arguments) == 0 and "other libraries" not in capsys.readouterr().err
    path = copied_run.folder / RUN_JSON
    data = json.loads(path.read_text())
    data["provenance"]["libraries"]["torch"] = "1.0"
    path.write_text(json.dumps(data))
    assert main(arguments) == 0
    assert (
        f"{copied_run.name} was started with other libraries: torch 1.0 then, "
        in capsys.readouterr().err
    )


def test_a_run_that_is_not_complete_says_so(capsys, copied_run, tmp_path):
    path = copied_run.folder / "manifest.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    (found,) = json_of(capsys, "runs", "--home", str(tmp_path / "copy"))
    assert (found["samples"], found["of"], found["state"]) == (5, 12, "partial")


def test_every_command_is_listed_and_explained(capsys):
    nested = [[group, command] for group, under in UNDER.items() for command in under]
    alone = [[command] for command in COMMANDS if command not in UNDER]
    for argv in (["--help"], *([*command, "--help"] for command in alone + nested)):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 0
        text = capsys.readouterr().out
        assert all(c in text for c in COMMANDS) if argv == ["--help"] else "--json" in text
    listed = {name.split()[0] for name in parsers() if name}
    assert listed == set(COMMANDS), "a new command needs its tests here"


@pytest.mark.parametrize("command", ["anatomy", "estimate", "extract"])
def test_an_unknown_model_suggests_the_nearest(capsys, command):
    assert "did you mean toyfaces-ddpm-64" in failure(capsys, 2, command, "toyface-ddpm")


@pytest.mark.parametrize(
    "model", ["/no/such/folder", "~nosuchuser/model", "x" * 300, "a\0b", "", "."]
)
def test_a_model_that_cannot_be_is_refused(capsys, tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    line = failure(capsys, 2, "anatomy", model)
    assert (
        "neither a card nor a folder" in line or "holds no model: expected model_index.json" in line
    )


def test_a_model_on_the_hub_needs_a_network_and_says_so(capsys):
    assert "download" in failure(capsys, 1, "anatomy", "nobody/nothing-at-all")


@pytest.mark.parametrize("command", ["estimate", "extract"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--samples", "0"),
        ("--samples", "-3"),
        ("--samples", "many"),
        ("--samples", "1.5"),
        ("--steps", "0"),
        ("--steps", "-1"),
        ("--batch", "0"),
        ("--seed", "-1"),
        ("--eta", "2"),
        ("--eta", "nan"),
        ("--store", "h=some"),
        ("--store-dtype", "int8"),
        ("--dtype", "float8"),
    ],
)
def test_values_that_cannot_be_are_refused(capsys, folder, isolated_home, command, option, value):
    assert value.split("=")[-1] in failure(capsys, 2, command, folder, f"{option}={value}")
    assert not isolated_home.exists()


def test_steps_and_devices_the_model_does_not_have_are_refused(capsys, folder):
    assert "1 to 1000" in failure_at_last(
        capsys, 2, "extract", folder, "--steps", "1001", "--samples", "1"
    )
    assert "nowhere" in failure(capsys, 2, "extract", folder, "--device", "nowhere")


def failure_at_last(capsys, code, *argv):
    """Like ``failure``, of a command that had drawn its progress bar."""
    assert main(argv) == code
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    return printed.err.strip().splitlines()[-1]


@pytest.mark.parametrize("command", ["estimate", "extract"])
def test_an_unknown_site_suggests_the_nearest(capsys, folder, command):
    assert "did you mean skip.3" in failure(capsys, 2, command, folder, "--store", "skip.33=full")
    assert "skip.1.0" in failure(capsys, 2, command, folder, "--store", "skip.1.0=full")
    assert "twice" in failure(
        capsys, 2, command, folder, "--store", "h=full", "--store", "h=pooled"
    )


def test_an_unknown_run_suggests_the_nearest(capsys, tiny_run, tiny_home):
    home = ("--home", str(tiny_home))
    for command in ("info", "cancel"):
        assert tiny_run.name in failure(capsys, 2, command, tiny_run.name[:-2], *home)
        for name in ("..", "/etc", "../runs", "", "x" * 300):
            failure(capsys, 2, command, name, *home)
    assert "nothing to cancel" in failure(capsys, 2, "cancel", tiny_run.name, *home)


def test_a_home_that_cannot_be_written_is_refused(capsys, folder, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for home in (tmp_path / "file", tmp_path / "file" / "below"):
        for command in (("extract", folder), ("runs",)):
            line = failure(capsys, 2, *command, "--home", str(home))
            assert "--home or HCACHE_HOME" in line and "no runs" not in line
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("home", ["~nosuchuser/home", "x" * 300])
def test_a_home_that_cannot_be_is_refused(capsys, folder, home):
    line = failure(capsys, 2, "extract", folder, "--samples", "1", "--steps", "1", "--home", home)
    assert home[:20] in line and "--home or HCACHE_HOME" in line


def test_a_disk_that_is_too_small_is_exit_code_5(capsys, folder, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    line = failure_at_last(
        capsys, 5, "extract", folder, "--samples", "2", "--steps", "2", "--home", str(tmp_path)
    )
    assert line.startswith("hcache: ") and "1 B free" in line


def test_what_is_refused_leaves_nothing_behind(capsys, folder, tmp_path):
    failure(capsys, 2, "extract", folder, "--store", "skip.9", "--home", str(tmp_path / "home"))
    assert not any((tmp_path / "home" / "runs").iterdir())


def test_a_spoilt_run_is_told_in_one_line(capsys, copied_run, tmp_path):
    (copied_run.folder / RUN_JSON).write_text("{")
    home = ("--home", str(tmp_path / "copy"))
    assert copied_run.name in failure(capsys, 1, "info", copied_run.name, *home)


def test_a_spoilt_run_does_not_hide_the_others(capsys, copied_run, tmp_path):
    home = tmp_path / "copy"
    other = home / "runs" / "other-run"
    shutil.copytree(copied_run.folder, other)
    (other / RUN_JSON).write_text("{")
    assert copied_run.name in out_of(capsys, "runs", "--home", str(home))


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["info"], ["anatomy"], ["models", "--nonsense"]], ids=str
)
def test_wrong_usage_is_one_line_that_names_the_help(capsys, argv):
    assert "--help" in failure(capsys, 2, *argv)


def test_the_module_is_a_program(tmp_path):
    """In a process of its own, from another folder: exit code, one line, no traceback, no torch."""
    source = str(Path(hcache.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": source}

    def run(*argv):
        command = [sys.executable, "-m", "hcache", *argv]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )

    good, bad = run("models", "--json"), run("info", "no-such-run")
    assert good.returncode == 0 and "toyfaces-ddpm-64" in [
        card["name"] for card in json.loads(good.stdout)
    ]
    assert bad.returncode == 2 and bad.stdout == "" and bad.stderr.startswith("hcache: ")
    assert bad.stderr.count("\n") == 1
