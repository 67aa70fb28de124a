"""The samples in work, to be looked at: what is shown of them, and that the run knows nothing of
it.
"""

import dataclasses
import json

import numpy as np
import pytest
from tiny import assert_same_contents, contents

from hcache.cache.layout import IN_WORK
from hcache.cache.manifest import FIRST
from hcache.cli.main import main
from hcache.extraction import in_work
from hcache.extraction.in_work import MOST_SHOWN, InWork, InWorkFile, read_in_work
from hcache.extraction.run import extract
from hcache.images.pngs import png_bytes, read_picture
from hcache.specs import BATCH


@pytest.fixture
def clock(monkeypatch):
    """Stands still unless it is moved."""
    now = [100.0]
    monkeypatch.setattr(in_work.time, "monotonic", lambda: now[0])
    return now


def pictures(n, value=0):
    return np.stack([np.full((8, 6, 3), value + k, np.uint8) for k in range(n)])


def test_it_shows_the_first_samples_side_by_side_and_says_which_they_are(tmp_path, clock):
    InWorkFile(tmp_path, steps=20).show(10, 3, pictures(MOST_SHOWN + 3))
    said, png = read_in_work(tmp_path)
    assert said == InWork(start=10, stop=10 + MOST_SHOWN + 3, step=3, steps=20, shown=MOST_SHOWN)
    assert (
        said.in_words()
        == "Samples 10 to 20 in work (the first 8 are shown), predicted x_0 after step 4 of 20"
    )
    picture = read_picture(png)
    assert picture.shape == (8, 6 * MOST_SHOWN, 3) and [
        picture[0, 6 * k, 0] for k in range(8)
    ] == list(range(8))


def test_one_sample_is_one():
    assert (
        InWork(start=4, stop=5, step=0, steps=2, shown=1)
        .in_words()
        .startswith("Sample 4 in work, predicted x_0")
    )


def test_it_is_written_a_few_times_a_second_at_most_and_as_a_whole(tmp_path, clock):
    file = InWorkFile(tmp_path, steps=20)
    file.show(0, 0, pictures(2))
    file.show(0, 1, pictures(2, 9))
    assert read_in_work(tmp_path)[0].step == 0, "too soon"
    clock[0] += in_work.SECONDS
    file.show(0, 2, pictures(2, 9))
    assert read_in_work(tmp_path)[0].step == 2 and [p.name for p in tmp_path.iterdir()] == [IN_WORK]
    file.remove()
    assert read_in_work(tmp_path) is None and not list(tmp_path.iterdir())


def test_another_processes_picture_is_left_alone(tmp_path, clock):
    InWorkFile(tmp_path, steps=20).show(0, 0, pictures(1))
    InWorkFile(tmp_path, steps=20).remove()
    assert read_in_work(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture",
        png_bytes(pictures(1)[0]),
        png_bytes(pictures(1)[0], "[" * 100_000),
        png_bytes(pictures(1)[0], json.dumps({"start": 0})),
        png_bytes(
            pictures(1)[0], json.dumps({"start": -1, "stop": 1, "step": 0, "steps": 1, "shown": 1})
        ),
        png_bytes(
            pictures(1)[0], json.dumps({"start": "x", "stop": 1, "step": 0, "steps": 1, "shown": 1})
        ),
    ],
    ids=["empty", "not a PNG", "says nothing", "deep", "fields missing", "negative", "text"],
)
def test_what_cannot_be_read_is_not_shown(tmp_path, data):
    (tmp_path / IN_WORK).write_bytes(data)
    assert read_in_work(tmp_path) is None


def test_where_it_cannot_be_written_the_extraction_goes_on(tmp_path, clock):
    file = InWorkFile(tmp_path / "nowhere", steps=2)
    file.show(0, 0, pictures(1))
    file.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_arrays_are_the_same_and_every_step_is_shown(tiny_model, tiny_spec, tiny_run, tmp_path):
    """Also of the shard that is written: what is shown is the x_0 that is stored."""
    seen = []
    run = extract(
        tiny_model,
        tiny_spec,
        tmp_path,
        show=lambda start, step, x_0: seen.append((start, step, x_0.copy())),
    )
    assert_same_contents(run, tiny_run)
    assert [(start, step) for start, step, _ in seen] == [
        (s, k) for s in (0, 5, 10) for k in range(4)
    ]
    for start, step, x_0 in seen:
        stored = contents(run)[start, min(start + 5, 12), "x_0"]
        np.testing.assert_array_equal(x_0, stored[step])


def test_the_command_takes_it_away_in_the_end(tiny_folder, tmp_path, monkeypatch, capsys):
    shown = []
    show = InWorkFile.show
    monkeypatch.setattr(
        InWorkFile, "show", lambda self, *given: (show(self, *given), shown.append(self.path))
    )
    assert (
        main(
            ["extract", str(tiny_folder), "--samples", "4", "--steps", "2", "--home", str(tmp_path)]
        )
        == 0
    )
    assert shown and shown[0].name == IN_WORK and not list(tmp_path.rglob(f"{IN_WORK}*"))


def test_the_first_shard_of_a_run_in_usual_batches_is_small(tiny_model, tiny_spec, tmp_path):
    spec = dataclasses.replace(tiny_spec, samples=BATCH + 1, batch=BATCH, steps=1)
    run = extract(tiny_model, spec, tmp_path)
    assert [(s.start, s.stop) for s in run.shards] == [
        (0, FIRST),
        (FIRST, BATCH),
        (BATCH, BATCH + 1),
    ]
