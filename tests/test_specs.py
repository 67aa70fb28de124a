"""What is asked for: specs, anatomies and features as values."""

import dataclasses
import json

import numpy as np
import pytest

from hcache.cache.description import parse_spec
from hcache.errors import UnknownSiteError, UsageError, did_you_mean
from hcache.features import Features
from hcache.schemas import checked
from hcache.specs import Anatomy, Conditioning, Lora, RunSpec, parse_store

ANATOMY = Anatomy(
    x=(3, 16, 16),
    image=(16, 16, 3),
    h=(16, 4, 4),
    skips=(((16, 4, 4), (8, 4, 4)), ((8, 8, 8),)),
    parameters=7,
)
SPEC = RunSpec(
    model="some/model", samples=8, steps=4, store={"h": "full", "skip.1": "pooled"}, weights="abc"
)


def test_a_run_is_named_by_all_but_samples_and_batch():
    same = [dataclasses.replace(SPEC, **change) for change in ({"samples": 99}, {"batch": 3}, {})]
    same.append(
        dataclasses.replace(SPEC, store={"skip.1": "pooled", "skip.2": "none", "h": "full"})
    )
    other = [
        dataclasses.replace(SPEC, **change)
        for change in (
            {"model": "other/model"},
            {"steps": 5},
            {"seed": 1},
            {"eta": 0.5},
            {"store": {"h": "full"}},
            {"store": {"h": "pooled", "skip.1": "pooled"}},
            {"store_dtype": "float32"},
            {"dtype": "float16"},
            {"weights": "abd"},
            {"schedule": "diffusers"},
            {"images": ("a",) * SPEC.samples},
            {"conditioning": Conditioning(guidance=2)},
            {"loras": (Lora(file="a", sha256="1"),)},
            {"scheduler": {"_class_name": "DDIMScheduler"}},
            {
                "images": ("a",) * SPEC.samples,
                "conditioning": Conditioning(guidance=2),
                "inversion": "null-text",
            },
        )
    ]
    assert {spec.name for spec in same} == {SPEC.name}
    assert len({spec.digest for spec in [SPEC, *other]}) == 1 + len(other)
    changed = {
        name
        for spec in [*same, *other]
        for name in vars(spec)
        if getattr(spec, name) != getattr(SPEC, name)
    }
    assert changed == {field.name for field in dataclasses.fields(RunSpec)}, (
        "every field is decided on here"
    )


@pytest.mark.parametrize(
    "model", ["a/b", "/tmp/x y/ä ö", "/tmp/x/", "..", "/", "-x-", "m.h5", "a" * 40]
)
def test_a_name_is_one_that_a_folder_can_have_and_a_run_may_have(model):
    from hcache.cache.layout import RUN_NAME

    name = dataclasses.replace(SPEC, model=model).name
    assert RUN_NAME.fullmatch(name) and name.isascii()


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 0},
        {"samples": -1},
        {"steps": 0},
        {"batch": -1},
        {"seed": -1},
        {"eta": -0.1},
        {"eta": 1.1},
        {"eta": float("nan")},
        {"store_dtype": "int8"},
        {"store": {"h": "half"}},
    ],
    ids=str,
)
def test_a_spec_that_cannot_be_is_refused_with_what_came(change):
    ((_, value),) = change.items()
    came = next(iter(value.values())) if isinstance(value, dict) else value
    with pytest.raises(UsageError, match=str(came)):
        dataclasses.replace(SPEC, **change)


def test_specs_and_anatomies_survive_json():
    for value in (
        SPEC,
        ANATOMY,
        Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=None, without="it is a transformer"),
    ):
        data = json.loads(json.dumps(value.to_json()))
        assert (parse_spec(data) if value is SPEC else checked(data, Anatomy)) == value
    assert parse_spec(SPEC.to_json()).name == SPEC.name


def test_sites_stand_for_their_members():
    assert ANATOMY.sites == ("h", "skip.1", "skip.2")
    assert ANATOMY.members("skip.1") == ("skip.1.0", "skip.1.1") and ANATOMY.members("skip.2") == (
        "skip.2.0",
    )
    assert ANATOMY.members("h") == ("h",) and ANATOMY.members("skip.1.1") == ("skip.1.1",)
    assert [ANATOMY.shape(member) for member in ("h", "skip.1.0", "skip.1.1", "skip.2.0")] == [
        (16, 4, 4),
        (16, 4, 4),
        (8, 4, 4),
        (8, 8, 8),
    ]


@pytest.mark.parametrize(
    "site", ["skip.0", "skip.3", "skip.-1", "skip.1.2", "skip.1.-1", "h.0", "x", "", "skip.1.0.0"]
)
def test_sites_that_are_not_there_are_refused(site):
    for ask in (ANATOMY.members, ANATOMY.shape):
        with pytest.raises(UnknownSiteError):
            ask(site)
    with pytest.raises(UnknownSiteError):
        dataclasses.replace(SPEC, store={site: "full"}).check(ANATOMY)


def test_what_is_stored_is_named_by_site_not_by_member():
    assert SPEC.check(ANATOMY) is SPEC
    with pytest.raises(UnknownSiteError):
        dataclasses.replace(SPEC, store={"skip.1.0": "full"}).check(ANATOMY)


def test_a_model_without_a_u_has_no_sites():
    flat = Anatomy(x=(3, 8, 8), image=(8, 8, 3), h=None, without="it is a transformer")
    assert flat.sites == ()
    with pytest.raises(UnknownSiteError):
        flat.members("h")


def test_store_options_are_parsed():
    assert parse_store(["h", "skip.1=pooled", "skip.2=none"]) == {
        "h": "full",
        "skip.1": "pooled",
        "skip.2": "none",
    }
    assert parse_store([]) == {}
    with pytest.raises(UsageError, match="twice"):
        parse_store(["h=full", "h=full"])


def test_suggestions_are_near_or_all_there_is():
    assert did_you_mean("skp.1", ["h", "skip.1", "skip.2"]).startswith(" (did you mean skip.1")
    assert did_you_mean("zzz", ["h", "skip.1"]) == " (known: h, skip.1)"
    assert did_you_mean("zzz", []) == ""


def features(n=3):
    rng = np.random.default_rng(0)
    return Features(
        h=rng.normal(size=(n, 2, 1, 1)),
        skips=(
            (rng.normal(size=(n, 2, 1, 1)), rng.normal(size=(n, 1, 1, 1))),
            None,
            (rng.normal(size=(n, 1, 2, 2)),),
        ),
    )


def test_features_are_listed_by_member_and_found_by_it():
    some = features()
    assert [name for name, _ in some.items()] == ["h", "skip.1.0", "skip.1.1", "skip.3.0"]
    assert all(some[name] is tensor for name, tensor in some.items())


def test_replacing_changes_what_is_named_and_shares_the_rest():
    some = features()
    new = some.replace({"skip.1.1": 5.0})
    assert new["skip.1.1"] == 5.0 and some["skip.1.1"] is not new["skip.1.1"]
    assert all(new[name] is tensor for name, tensor in some.items() if name != "skip.1.1")
    assert new.skips[1] is None and some.replace({}) is some


def test_rows_joined_again_are_the_whole():
    some = features(5)
    parts = [some.rows(0, 2), some.rows(2, 3), some.rows(3, 5)]
    joined = Features.join(parts, np.concatenate)
    assert all(np.array_equal(joined[name], tensor) for name, tensor in some.items())
    assert [len(part.h) for part in parts] == [2, 1, 2] and joined.skips[1] is None
    doubled = some.map(lambda name, tensor: 2 * tensor)
    assert all(np.array_equal(doubled[name], 2 * tensor) for name, tensor in some.items())


def test_a_run_of_before_keeps_its_name_and_its_schedule():
    """It has no ``schedule`` in its run.json; what it was made with has that name."""
    old = SPEC.to_json()
    del old["schedule"]
    found = parse_spec(old)
    assert found.schedule == "before" and found.name == SPEC.name and SPEC.schedule == "next"
    assert dataclasses.replace(SPEC, schedule="diffusers").name != SPEC.name
    with pytest.raises(UsageError, match="schedule"):
        dataclasses.replace(SPEC, schedule="karras")
