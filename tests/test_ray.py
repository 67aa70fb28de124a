"""Extraction on Ray: the arrays are those of one process, whatever machine dies or joins.

The marked tests start real clusters of several nodes on this machine (`pytest -m cluster`).
"""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pooled import SMALL
from tiny import PATIENCE, assert_same_contents

from hcache.background.extractions import extract_arguments
from hcache.cache.layout import MANIFEST
from hcache.cache.manifest import read_manifest
from hcache.cache.reading import open_run
from hcache.cache.seen import disagreement, look_for, token_in, versions
from hcache.cache.verify import verify
from hcache.cli.main import main
from hcache.errors import CacheError, UsageError
from hcache.extraction.run import extract
from hcache.progress import drive

ROOT = Path(__file__).parents[1]


def assert_whole(run, like):
    assert_same_contents(run, like)
    assert run.complete and drive(verify(run.folder)).fine
    assert not list(run.folder.rglob("*.partial")) and not (run.folder / ".token").exists()


def place_on(cluster):
    from hcache.extraction.on_ray import OnRay

    return OnRay(address=cluster.address)


@pytest.mark.cluster
def test_machines_die_and_one_joins_late(cluster, tiny_model, tiny_spec, tmp_path):
    """Of three machines one is killed at work; the others follow once a fourth has come."""
    nodes = [cluster.add_node(**SMALL) for _ in range(3)]
    devices = []

    def watch(progress):
        devices.append(progress.devices)
        if progress.done >= 2 and len(nodes) == 3:
            cluster.remove_node(nodes[0], allow_graceful=False)
            nodes.append(cluster.add_node(**SMALL))
        if progress.done >= 6 and len(nodes) == 4:
            cluster.remove_node(nodes[1], allow_graceful=False)
            cluster.remove_node(nodes[2], allow_graceful=False)
            nodes.append(None)

    spec = dataclasses.replace(tiny_spec, batch=1)
    run = extract(tiny_model, spec, tmp_path, watch, place=place_on(cluster))
    assert_whole(run, extract(tiny_model, spec, tmp_path / "here"))
    assert max(devices) == 3 and nodes[-1] is None


def start_driver(cluster, spec, home):
    command, *others = extract_arguments(spec, home)
    words = [sys.executable, "-m", "hcache", command, f"--ray={cluster.address}", *others]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for_samples(folder, count):
    end = time.monotonic() + PATIENCE
    while not (folder / MANIFEST).exists() or len(read_manifest(folder)) < count:
        assert time.monotonic() < end, "nothing was committed"
        time.sleep(0.02)


@pytest.mark.cluster
def test_a_driver_is_killed_and_another_goes_on(cluster, tiny_model, tiny_spec, tmp_path):
    cluster.add_node(**SMALL)
    spec = dataclasses.replace(tiny_spec, batch=1)
    folder = tmp_path / "runs" / spec.name
    killed = start_driver(cluster, spec, tmp_path)
    try:
        wait_for_samples(folder, 1)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    kept = open_run(folder)
    before = {shard.file: (folder / "shards" / shard.file).stat().st_ino for shard in kept.shards}
    command, *others = extract_arguments(spec, tmp_path)
    assert main([command, f"--ray={cluster.address}", *others]) == 0
    assert_whole(open_run(folder), extract(tiny_model, spec, tmp_path / "here"))
    after = {name: (folder / "shards" / name).stat().st_ino for name in before}
    assert before and after == before, "what was committed was not computed again"


@pytest.fixture
def blind(cluster, tmp_path):
    """A machine on which another disk lies where the home is."""
    hidden = tmp_path / "shared"
    hidden.mkdir()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("this needs the right to make a mount namespace")
    start = f"mount -t tmpfs none '{hidden}' && exec '{Path(sys.executable).parent}/ray' start"
    words = f"{start} --address={cluster.address} --num-cpus=1 --block"
    process = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", f"{words} --object-store-memory={80 * 2**20}"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield hidden
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.cluster
def test_a_machine_that_does_not_see_the_disk_is_named(cluster, blind, tiny_model, tiny_spec):
    import ray

    from hcache.ray_cluster import nodes_of, session

    end = time.monotonic() + PATIENCE
    with session(cluster.address):
        while sum(node.cpus for node in nodes_of(ray)) < 1:
            assert time.monotonic() < end, "the machine did not join"
            time.sleep(0.2)
    with pytest.raises(CacheError, match=r"does not see .*/shared/runs/.* shared disk") as refused:
        extract(tiny_model, tiny_spec, blind, place=place_on(cluster))
    assert "\n" not in str(refused.value)
    assert not (blind / "runs" / tiny_spec.name / MANIFEST).exists()


def test_a_token_is_seen_only_where_it_lies(tmp_path):
    with token_in(tmp_path) as token:
        assert look_for(token) == "" and disagreement(tmp_path, "", versions()) == ""
        other = dataclasses.replace(token, text="another")
        assert look_for(other) == "sees another folder under"
        elsewhere = dataclasses.replace(token, path=tmp_path / "not there" / "token")
        assert look_for(elsewhere) == "does not see"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["hcache", "torch", "diffusers", "python"])
def test_another_version_on_a_machine_is_named(tmp_path, name):
    words = disagreement(tmp_path, "", {**versions(), name: "0.0.1"})
    assert f"has {name} 0.0.1, and the machine that began the work has {versions()[name]}" in words
    missing = {key: value for key, value in versions().items() if key != name}
    assert f"has {name} not installed" in disagreement(tmp_path, "", missing)


def test_without_ray_the_extra_is_named(capsys, monkeypatch, tiny_spec, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, "--ray=auto", *others]) == UsageError.exit_code
    assert "pip install 'hcache[cluster]'" in capsys.readouterr().err
    assert not (tmp_path / "runs" / tiny_spec.name).exists()


@pytest.mark.cluster
@pytest.mark.parametrize(
    "address, words",
    [
        ("127.0.0.1:1", "nobody answers at 127.0.0.1:1"),
        ("somewhere", "HOST:PORT"),
        ("host:99999", "HOST:PORT"),
    ],
)
def test_an_address_that_nobody_answers_is_refused_in_one_line(
    capsys, tiny_spec, tmp_path, address, words
):
    pytest.importorskip("ray")
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, f"--ray={address}", *others]) == UsageError.exit_code
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1] and told[-1].startswith("hcache:")


@pytest.mark.parametrize(
    "options, words",
    [
        (["--ray", "--devices=cpu:2"], "two places"),
        (["--ray-cpus=2"], "--ray-cpus goes with --ray"),
        (["--ray-cpus=0", "--ray=auto"], "1 or more"),
    ],
)
def test_places_that_exclude_each_other_are_refused(capsys, tiny_spec, tmp_path, options, words):
    command, *others = extract_arguments(tiny_spec, tmp_path)
    assert main([command, *options, *others]) == UsageError.exit_code
    assert words in capsys.readouterr().err


class Reference:
    """What a remote call of the stand-in for Ray gives."""

    def __init__(self, value):
        self.value = value


class Local:
    """Ray as far as a team needs it: one machine, whose actors are objects of this process."""

    class exceptions:  # noqa: N801 - as Ray has it
        class RayError(Exception):
            pass

    def __init__(self, cpus=2):
        self.cpus, self.killed = cpus, []

    def nodes(self):
        resources = {"CPU": self.cpus}
        return [{"NodeID": "a", "Alive": True, "Resources": resources, "NodeName": "one"}]

    def wait(self, references, num_returns, timeout):
        return references, []

    def get(self, reference):
        return reference.value()

    def kill(self, actor):
        self.killed.append(actor)


class Method:
    def __init__(self, function):
        self.function = function

    def remote(self, *given):
        value = self.function(*given) if given else None
        return Reference(self.function if not given else lambda: value)


@pytest.fixture
def local(monkeypatch):
    """A team on the stand-in; the actors themselves, threads and all, are the real ones."""
    from contextlib import contextmanager

    from hcache.extraction import on_ray, ray_actor

    ray, actors = Local(), []

    class Remote:
        @staticmethod
        def remote(*given):
            actor = ray_actor.RangeActor(*given)
            actors.append(actor)
            names = ("told", "give", "end")
            return type("Handle", (), {n: Method(getattr(actor, n)) for n in names})()

    @contextmanager
    def session(address):
        yield ray

    monkeypatch.setattr(ray_actor, "WAIT", 0.05)
    monkeypatch.setattr(on_ray, "LOOK", 0.0)  # so that an actor is started again before all is done
    monkeypatch.setattr(on_ray, "actor_class", lambda *_, **_calls: Remote)
    monkeypatch.setattr(on_ray, "session", session)
    return on_ray.OnRay(address="somewhere", cpus=1), actors, ray


def test_actors_give_what_one_process_gives(local, tiny_model, tiny_spec, tiny_run, tmp_path):
    place, actors, ray = local
    seen = []
    assert_whole(extract(tiny_model, tiny_spec, tmp_path, seen.append, place=place), tiny_run)
    assert len(actors) == 2 == max(p.devices for p in seen) and len(ray.killed) == 2


@pytest.mark.parametrize("deaths", [1, 2])
def test_an_actor_that_dies_on_a_living_machine_is_started_again(
    deaths, local, tiny_model, tiny_spec, tiny_run, tmp_path, monkeypatch
):
    from hcache.extraction import ray_actor

    place, actors, ray = local
    told = ray_actor.RangeActor.told

    def dies(actor):
        if actor in actors[:deaths]:
            raise ray.exceptions.RayError("the actor died: out of memory")
        return told(actor)

    monkeypatch.setattr(ray_actor.RangeActor, "told", dies)
    assert_whole(extract(tiny_model, tiny_spec, tmp_path, place=place), tiny_run)
    assert len(actors) == 2 + deaths


def test_an_actor_that_always_dies_is_not_started_for_ever(
    local, tiny_model, tiny_spec, tmp_path, monkeypatch
):
    from hcache.errors import ModelError
    from hcache.extraction import ray_actor
    from hcache.ray_cluster import RESTARTS

    place, actors, ray = local

    def dies(_):
        raise ray.exceptions.RayError("the actor died: out of memory")

    monkeypatch.setattr(ray_actor.RangeActor, "told", dies)
    with pytest.raises(ModelError, match="every worker died .*out of memory"):
        extract(tiny_model, tiny_spec, tmp_path, place=place)
    assert len(actors) == 2 * (1 + RESTARTS)


def test_a_fault_in_an_actor_is_told_and_the_run_ends_in_one_line(
    local, tiny_model, tiny_spec, tmp_path, monkeypatch
):
    from hcache.errors import ModelError
    from hcache.extraction import serving

    def fail(*_):
        raise RuntimeError("the driver\nis too old")

    monkeypatch.setattr(serving, "load_for", fail)
    place, _, _ = local
    with pytest.raises(ModelError, match="one: RuntimeError: the driver is too old; one: Runtime"):
        extract(tiny_model, tiny_spec, tmp_path, place=place)


def test_a_machine_of_other_versions_ends_it_before_anything_is_computed(
    local, tiny_model, tiny_spec, tmp_path, monkeypatch
):
    from hcache.extraction import ray_actor

    monkeypatch.setattr(ray_actor, "versions", lambda: {**versions(), "torch": "1.0"})
    place, _, _ = local
    with pytest.raises(UsageError, match="one has torch 1.0, and the machine that began"):
        extract(tiny_model, tiny_spec, tmp_path, place=place)
    assert not (tmp_path / "runs" / tiny_spec.name / MANIFEST).exists()


def test_a_machine_that_does_not_see_the_run_ends_it(
    local, tiny_model, tiny_spec, tmp_path, monkeypatch
):
    from hcache.extraction import ray_actor

    monkeypatch.setattr(ray_actor, "look_for", lambda _: "does not see")
    place, _, _ = local
    with pytest.raises(CacheError, match="one does not see .*runs.* shared disk"):
        extract(tiny_model, tiny_spec, tmp_path, place=place)


def brightness(pictures):
    """A reader that is a function of a module."""
    return {"brightness": pictures.mean((1, 2, 3)).astype("float32")}


def test_reading_on_ray_gives_the_labels_of_reading_here(copied_run, pooled, monkeypatch, capsys):
    from hcache.readers.reading import read_run

    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    home = str(copied_run.folder.parent.parent)
    words = ["read", copied_run.name, "--home", home, "--reader", "function:test_ray:brightness"]
    assert main([*words, "--ray=auto"]) == 0
    label_set = open_run(copied_run.folder).labels["brightness"]
    expected = brightness(copied_run.images)["brightness"]
    assert label_set["brightness"] == pytest.approx(expected, abs=1e-5) and len(pooled.done) == 1
    assert not (copied_run.folder / ".token").exists()
    drive(read_run(copied_run, "brightness", ray="auto", batch=5))
    assert len(pooled.done) == 1, "all had been read"
    drive(read_run(copied_run, "brightness", replace=True, ray="auto", batch=5))
    assert len(pooled.done) == 1 + 3, "all 12 are read again, 5 at a time"


def test_a_machine_that_cannot_take_part_in_reading_is_named(copied_run, tmp_path):
    from hcache.cache.seen import Shared

    with token_in(copied_run.folder) as token:
        shared = Shared(folder=copied_run.folder, token=token)
        shared.check()
        other = dataclasses.replace(shared, versions={**versions(), "torch": "9"})
        with pytest.raises(CacheError, match="and the machine that began the work has 9"):
            other.check()
    with pytest.raises(CacheError, match="sees another folder under"):
        shared.check()
