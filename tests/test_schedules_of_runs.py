"""Where a run's steps end: recorded, told, and kept by runs of before."""

import dataclasses
import json

import pytest
from tiny import assert_same_contents, drain, make_unet, save_pipeline

from hcache.background.extractions import extract_arguments
from hcache.cache.layout import RUN_JSON
from hcache.cache.provenance import schedule_in_words
from hcache.cache.reading import open_run
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.errors import ModelError
from hcache.extraction.rerun import rerun
from hcache.extraction.run import extract
from hcache.models.loading import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_pipeline(
        tmp_path_factory.mktemp("spaced") / "spaced", make_unet(), timestep_spacing="linspace"
    )


@pytest.fixture(scope="module")
def model(folder):
    return load_model(str(folder))


def as_before(run):
    """Makes a run one of before there was a choice."""
    path = run.folder / RUN_JSON
    description = json.loads(path.read_text())
    del description["spec"]["schedule"]
    path.write_text(json.dumps(description))
    return open_run(run.folder)


def test_both_ways_are_runs_of_their_own_and_say_which_they_are(folder, model, tmp_path, capsys):
    spec = default_spec(str(folder), samples=2, steps=3, batch=2)
    ours = extract(model, spec, tmp_path)
    theirs = extract(model, dataclasses.replace(spec, schedule="diffusers"), tmp_path)
    assert ours.name != theirs.name and ours.timesteps == theirs.timesteps
    assert abs(ours.x(0, 3) - theirs.x(0, 3)).max() > 1e-3
    assert "--schedule=diffusers" in extract_arguments(theirs.spec, tmp_path)
    for run, words in (
        (ours, "next timestep (as in diffusers' DDIM: no)"),
        (theirs, "not at the next timestep"),
    ):
        assert main(["info", run.name, "--home", str(tmp_path)]) == 0
        assert words in capsys.readouterr().out
        _, found = drain(rerun(model, run, [1]))
        assert all(part.largest <= part.tolerance for part in found.values())


def test_a_run_of_before_goes_on_as_what_it_was_and_says_so(folder, model, tmp_path, caplog):
    """It has the name of the run that would be made now, and the steps of the one that names
    diffusers.
    """
    spec = default_spec(str(folder), samples=2, steps=3, batch=2)
    more = dataclasses.replace(spec, samples=4, schedule="diffusers")
    whole = extract(model, more, tmp_path / "whole")
    begun = extract(model, dataclasses.replace(more, samples=2), tmp_path / "begun")
    target = tmp_path / "old" / "runs" / spec.name
    target.parent.mkdir(parents=True)
    begun.folder.rename(target)
    description = json.loads((target / RUN_JSON).read_text())
    del description["spec"]["schedule"]
    (target / RUN_JSON).write_text(json.dumps(description | {"name": spec.name}))
    run = extract(model, dataclasses.replace(spec, samples=4), tmp_path / "old")
    assert (
        run.name == spec.name
        and run.spec.schedule == "before"
        and "started with diffusers' steps" in caplog.text
    )
    assert "schedule: diffusers" in schedule_in_words(
        run.spec.schedule, run.timesteps, run.provenance
    )
    assert_same_contents(run, whole)


def test_a_run_of_before_whose_steps_meet_anyway_is_said_nothing_of(
    tiny_model, tiny_spec, tmp_path, caplog
):
    spec = dataclasses.replace(tiny_spec, samples=2)
    run = as_before(extract(tiny_model, spec, tmp_path))
    more = extract(tiny_model, dataclasses.replace(spec, samples=3), tmp_path)
    assert more.name == run.name and len(more) == 3 and not caplog.text
    assert "DDIM: yes" in schedule_in_words(more.spec.schedule, more.timesteps, more.provenance)


def test_a_model_with_other_timesteps_does_not_go_on_with_a_run(tiny_model, tiny_spec, tmp_path):
    spec = dataclasses.replace(tiny_spec, samples=2, weights="")
    run = extract(tiny_model, spec, tmp_path)
    moved = dataclasses.replace(tiny_model, scheduler=type(tiny_model.scheduler)(steps_offset=1))
    with pytest.raises(ModelError, match="other timesteps"):
        extract(moved, dataclasses.replace(spec, samples=3), tmp_path)
    assert len(open_run(run.folder)) == 2
