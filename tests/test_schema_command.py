"""The JSON Schemas that are printed are those by which files are read."""

import copy
import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from hcache.cache.description import read_description
from hcache.cli.main import main
from hcache.cli.schema import FILES, json_schema
from hcache.errors import CacheError

BEFORE = Path(__file__).parent / "files_of_before"
(RUN,) = (BEFORE / "runs").iterdir()
DOCS = Path(__file__).parent.parent / "docs" / "schemas"
DESCRIPTIONS = sorted((BEFORE / "descriptions").glob("*.json"))

WRITTEN = {
    "run": [RUN / "run.json", *(path for path in DESCRIPTIONS if "Inf" not in path.read_text())],
    "shard": [RUN / "manifest.jsonl"],
    "task": [RUN / "job.json", *(RUN / "tasks").glob("*.json")],
    "verification": [RUN / "verify.json"],
    "measure": list((RUN / "measures").glob("*.json")),
    "reading": list((RUN / "readers").glob("*.json")),
    "recipe": [BEFORE / "edits" / "recipes.json"],
}
"""Files by the name of their schema."""

STRANGE = (None, True, -1, 0, 0.5, 1e300, 10**30, "", "text", [], [1], {}, {"a": None}, [[[1]]])


def contents(path):
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
    found = [json.loads(line) for line in lines]
    if path.name == "recipes.json":  # with the digest of each
        return [json.loads(each["text"]) for each in found[0]]
    return found


def places(data, path=()):
    """Every place in a JSON value."""
    yield path
    items = (
        data.items() if isinstance(data, dict) else enumerate(data if type(data) is list else ())
    )
    for key, value in items:
        yield from places(value, (*path, key))


def changed(data, path, value):
    """The data with another value at a place; ``...`` takes the place away."""
    data = copy.deepcopy(data)
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


@pytest.mark.parametrize("name", FILES)
def test_what_was_written_fits_its_schema(name):
    schema = json_schema(name)
    Draft202012Validator.check_schema(schema)
    found = [data for path in WRITTEN[name] for data in contents(path)]
    assert found
    for data in found:
        Draft202012Validator(schema).validate(data)


@pytest.mark.parametrize(
    "path",
    [RUN / "run.json", *(pytest.param(path, marks=pytest.mark.slow) for path in DESCRIPTIONS[:1])],
    ids=lambda path: path.stem,
)
def test_what_the_schema_of_a_run_refuses_is_not_read(path, tmp_path):
    """At every place every strange value. What it takes may still be no run: it is another one."""
    validator, (data,) = Draft202012Validator(json_schema("run")), contents(path)
    refused = taken = 0
    for place in [
        place for place in places(data) if place and place[:2] != ("provenance", "scheduler")
    ]:
        for value in (*STRANGE, ...):
            spoilt = changed(data, place, value)
            (tmp_path / "run.json").write_text(json.dumps(spoilt))
            try:
                read_description(tmp_path / "run.json")
                taken += 1
                assert validator.is_valid(spoilt), (place, value)
            except CacheError:
                refused += not validator.is_valid(spoilt)
    assert refused > taken > 0


def test_the_schema_that_the_documentation_has_is_printed(capsys):
    for path in DOCS.glob("*.schema.json"):
        name = path.name.removesuffix(".schema.json")
        assert main(["schema", name]) == 0
        assert capsys.readouterr().out == path.read_text(), f"python -m hcache schema {name}"
    assert (DOCS / "run.schema.json").exists()


def test_a_schema_says_what_it_must_hold(capsys):
    assert main(["schema", "run", "--json"]) == 0
    schema = json.loads(capsys.readouterr().out)
    spec = schema["$defs"]["SpecFields"]
    assert {"model", "samples", "steps", "seed", "store"} <= set(spec["required"])
    assert spec["additionalProperties"] is False
    assert "\n" not in json.dumps(schema["$defs"]["RunFile"]["description"])
    assert main(["schema", "nothing"]) == 2 and "invalid choice" in capsys.readouterr().err
