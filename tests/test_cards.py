"""The cards of every model of the write-up, one's own cards, and the hub: all without a network."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest
import yaml
from kinds import save_kind

from hcache.cache.reading import open_run
from hcache.cards import OWN_CARDS, default_spec, find_card, load_cards
from hcache.cli.main import main
from hcache.errors import ModelError, UsageError
from hcache.extraction.run import extract
from hcache.models.loading import load_anatomy, load_model

TABLE = {
    # card: (parameters in millions, h, members of every group)
    "google/ddpm-ema-celebahq-256": (113.67, (512, 8, 8), [3] * 6),
    "adm-metfaces": (93.56, (512, 8, 8), [2] * 6),
    "adm-afhq-dog": (93.56, (512, 8, 8), [2] * 6),
    "CompVis/ldm-celebahq-256": (274.06, (896, 8, 8), [3] * 4),
    "stable-diffusion-v1-5/stable-diffusion-v1-5": (859.52, (1280, 8, 8), [3] * 4),
    "stabilityai/stable-diffusion-2-1": (865.91, (1280, 12, 12), [3] * 4),
    "stabilityai/stable-diffusion-xl-base-1.0": (2567.46, (1280, 32, 32), [3] * 3),
    "facebook/DiT-XL-2-256": (749.83, None, []),
    "black-forest-labs/FLUX.1-dev": (11901.41, None, []),
}
"""U-Nets as published. DiT-XL/2 was published with 675 M; diffusers embeds time and class anew
in every block.
"""


@pytest.mark.parametrize("name", TABLE)
def test_the_anatomy_of_a_card_is_the_published_models(name):
    parameters, h, groups = TABLE[name]
    found = load_anatomy(name)
    assert (round(found.parameters / 1e6, 2), found.h, [len(g) for g in found.skips]) == (
        parameters,
        h,
        groups,
    )
    assert bool(found.without) == (h is None)


def test_every_card_is_in_the_table():
    shipped = {"toyfaces-ddpm-64", "toyfaces-ldm-64", "toyfaces-adm-64", "toydogs-ddpm-64"}
    assert {*TABLE, *shipped} == set(load_cards())


def test_the_blocks_of_a_transformer_are_estimated_honestly(capsys):
    """19 double and 38 single blocks of 3072 x 4096 tokens: 57 times 25 MB a step in float16."""
    arguments = [
        "estimate",
        "black-forest-labs/FLUX.1-dev",
        "--samples",
        "1",
        "--steps",
        "1",
        "--json",
    ]
    for policy, size in (("full", 57 * 3072 * 4096 * 2), ("pooled", 57 * 3072 * 2)):
        assert main([*arguments, "--store", f"block.*={policy}"]) == 0
        parts = json.loads(capsys.readouterr().out)["bytes"]
        assert sum(count for part, count in parts.items() if part.startswith("block.")) == size


def test_a_transformers_anatomy_says_why_it_has_no_h(capsys):
    assert main(["anatomy", "black-forest-labs/FLUX.1-dev"]) == 0
    printed = capsys.readouterr().out
    assert "no h-space" in printed and "block.56" in printed and "skip.1" not in printed
    assert main(["estimate", "black-forest-labs/FLUX.1-dev", "--store", "h=full"]) == 2
    assert "no U-Net" in capsys.readouterr().err


def test_a_model_that_has_to_be_converted_says_how(capsys):
    assert main(["extract", "adm-metfaces", "--samples", "1"]) == 1
    assert "convert-adm" in capsys.readouterr().err


def write_cards(tmp_path, monkeypatch, text):
    (tmp_path / "mine.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    monkeypatch.setenv(OWN_CARDS, str(tmp_path / "mine.yaml"))


def test_ones_own_cards_go_before_the_others(tiny_folder, tmp_path, monkeypatch):
    shutil.copytree(tiny_folder, tmp_path / "beside")
    mine = {"mine": {"source": "beside", "steps": 7}, "adm-metfaces": {"source": str(tiny_folder)}}
    write_cards(tmp_path, monkeypatch, mine)
    assert find_card("mine").steps == 7 and load_model("mine").anatomy == load_anatomy(
        str(tiny_folder)
    )
    assert find_card("adm-metfaces").folder == tiny_folder
    assert "toyfaces-ddpm-64" in load_cards()


@pytest.mark.parametrize(
    "text", ["a: b", "[1, 2]", "a: {nothing: 1}", "a: {source: x, colour: red}", "a: [", "a: null"]
)
def test_a_file_that_is_none_of_cards_is_refused_in_words(tmp_path, monkeypatch, text, capsys):
    write_cards(tmp_path, monkeypatch, text)
    assert main(["models"]) == 2 and "mine.yaml" in capsys.readouterr().err
    monkeypatch.setenv(OWN_CARDS, str(tmp_path / "nothing.yaml"))
    with pytest.raises(UsageError, match="nothing.yaml"):
        load_cards()


@pytest.fixture
def hub(tiny_folder, tmp_path):
    """A hub cache that holds ``someone/tiny`` at a commit, as huggingface_hub lays it out."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hf" / "hub" / "models--someone--tiny"
    shutil.copytree(tiny_folder, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return commit, {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}


COMMANDS = """
import contextlib, io, json, sys
from hcache.cli.main import main
for given in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(given)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def run_hcache(environment, *commands):
    """The exit code, output and errors of each command, one after another in one new process."""
    command = [sys.executable, "-c", COMMANDS, json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_hub_model_is_found_in_hf_home_with_its_commit_and_one_that_is_not_is_named(
    hub, tmp_path
):
    """One process answers all, because huggingface_hub reads HF_HOME when it is imported."""
    commit, environment = hub
    home = tmp_path / "home"
    few = ("--samples", "1", "--steps", "2", "--home", str(home))
    found, same, missing = run_hcache(
        environment,
        ("extract", "someone/tiny", "--json", *few),
        ("anatomy", f"someone/tiny@{commit}", "--json"),
        ("extract", "someone/else", *few),
    )
    assert found[0] == 0, found[2]
    run = open_run(json.loads(found[1])["name"], home)
    assert run.provenance["revision"] == commit
    assert json.loads(same[1])["sites"]["h"]["shapes"] == [[16, 4, 4]]
    assert missing[0] == 1 and "Traceback" not in missing[2]
    assert "hf download someone/else" in missing[2] and "folder" in missing[2]


def test_a_run_goes_on_with_the_commit_it_was_begun_with_alone(tiny_model, tiny_spec, tmp_path):
    """Whatever the hub has moved on to; the name of the run is the same before the download and
    after.
    """
    begun, moved = (dataclasses.replace(tiny_model, revision=commit * 40) for commit in "ab")
    few, more = (dataclasses.replace(tiny_spec, samples=n) for n in (1, 2))
    extract(begun, few, tmp_path)
    with pytest.raises(ModelError, match="@" + "a" * 40):
        extract(moved, more, tmp_path)
    assert len(extract(begun, more, tmp_path)) == 2
    assert (
        default_spec("owner/name").weights == "" and default_spec("owner/name@v1").weights == "v1"
    )


@pytest.mark.parametrize("part", ["vae", "text_encoder", "tokenizer", "unet"])
def test_a_pipeline_that_misses_a_part_is_refused_in_words(part, tmp_path):
    folder = save_kind("SD", tmp_path / "model")
    shutil.rmtree(folder / part)
    with pytest.raises(ModelError):
        load_model(str(folder))


def test_a_model_that_is_no_diffusion_model_is_refused_in_words(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert", "architectures": ["BertModel"]})
    )
    for load in (load_model, load_anatomy):
        with pytest.raises(ModelError, match="expected one of"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--guidance", "3"], "unconditional"),
        (["--prompt", "a dog"], "unconditional"),
        (["--classes", "1"], "unconditional"),
        (["--classes", "one"], "whole numbers"),
        (["--prompts", "/no/such/file"], "cannot be read"),
        (["--guidance", "0.5"], "1 (none) or more"),
        (["--guidance", "nan"], "1 (none) or more"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_before_anything_is_made(
    tiny_folder, tmp_path, capsys, arguments, words
):
    home = tmp_path / "home"
    assert (
        main(["extract", str(tiny_folder), "--samples", "2", "--home", str(home), *arguments]) == 2
    )
    assert words in capsys.readouterr().err
    assert not home.exists() or not any((home / "runs").iterdir())


def test_a_prompt_file_that_is_too_short_is_refused(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("a dog\n\na cat\n")
    arguments = [
        "estimate",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "--prompts",
        str(tmp_path / "prompts.txt"),
    ]
    assert main([*arguments, "--samples", "3"]) == 2
    assert "2 prompts were given for 3 samples" in capsys.readouterr().err
    assert main([*arguments, "--samples", "2"]) == 0
    (tmp_path / "prompts.txt").write_text("\n")
    assert main(arguments) == 2


def test_a_changed_file_of_cards_is_seen_by_a_process_that_read_it_before(tmp_path, monkeypatch):
    """Even one changed within the clock's tick, to the same size."""

    own = tmp_path / "cards.yaml"
    monkeypatch.setenv("HCACHE_CARDS", str(own))
    for title in ("one", "two"):
        own.write_text(f"mine: {{source: owner/mine, title: {title}}}")
        os.utime(own, (1_000_000_000, 1_000_000_000))
        assert load_cards()["mine"].title == title
        assert load_cards()["mine"] is load_cards()["mine"], (
            "read once as long as it is what it was"
        )
