"""Labels are read again only after a file has changed, and never handed out to be changed."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from hcache.cache import kept_labels
from hcache.cache.labels import label_names, named_labels, save_labels
from hcache.cache.layout import LABELS
from hcache.cache.reading import open_run


@pytest.fixture
def reads(copied_run, monkeypatch):
    """A run with a label set whose files are a minute old, and how often they are read."""
    count = []
    read = kept_labels.read_label_files
    monkeypatch.setattr(
        kept_labels, "read_label_files", lambda *given: count.append(1) or read(*given)
    )
    save_labels(copied_run, "mine", {"size": {0: 1.0, 3: 2.0}})
    monkeypatch.setattr(kept_labels, "SETTLED", -60.0)
    return copied_run, count


def test_labels_are_read_once(reads):
    run, count = reads
    first = named_labels(run)
    for _ in range(3):
        np.testing.assert_array_equal(named_labels(run)["size"], first["size"])
        assert "size" in label_names(run)
    assert len(count) == 1


def test_threads_that_read_the_labels_of_many_runs_do_not_disturb_one_another(
    copied_run, tmp_path, monkeypatch
):
    """While one thread drops the oldest, others add theirs; files are read outside the lock."""
    monkeypatch.setattr(kept_labels, "SETTLED", -60.0)
    monkeypatch.setattr(kept_labels, "MOST", 1)
    save_labels(copied_run, "mine", {"size": {0: 1.0}})
    runs = [open_run(shutil.copytree(copied_run.folder, tmp_path / f"run{k}")) for k in range(4)]
    held = []
    read = kept_labels.read_label_files

    def reading(*given):
        with ThreadPoolExecutor(1) as other:  # it would wait for ever for a lock that is held
            held.append(other.submit(lambda: named_labels(copied_run)).result(timeout=60))
        return read(*given)

    named_labels(copied_run)
    monkeypatch.setattr(
        kept_labels,
        "read_label_files",
        lambda run, ids: reading(run, ids) if run != copied_run.folder else read(run, ids),
    )
    with ThreadPoolExecutor(4) as threads:
        for names in threads.map(named_labels, runs * 5, timeout=120):
            assert set(names) >= {"size"}
    assert held


def test_what_is_handed_out_may_be_changed(reads):
    run, _ = reads
    named_labels(run)["size"][:] = 7
    assert named_labels(run)["size"][0] == 1


@pytest.mark.parametrize("change", ["value", "set", "removed", "edited"])
def test_a_change_is_seen_at_once(reads, change):
    run, count = reads
    named_labels(run)
    table = run.folder / LABELS / "mine.csv"
    if change == "value":
        save_labels(run, "mine", {"size": {0: 1.0, 3: 9.0}})
        assert named_labels(run)["size"][3] == 9
    elif change == "set":
        save_labels(run, "other", {"hue": {1: 4.0}})
        assert {"hue", "size"} <= set(named_labels(run))
    elif change == "removed":
        table.unlink()
        assert "size" not in named_labels(run)
    else:  # in place, of the same size; its values are then not those that hcache wrote
        table.write_bytes(table.read_bytes().replace(b"2", b"5"))
        assert "size" not in named_labels(run)
    assert len(count) == 2


def test_files_written_a_moment_ago_are_read_again(reads, monkeypatch):
    """Another change within the same tick of the disk's clock would leave no trace."""
    run, count = reads
    monkeypatch.setattr(kept_labels, "SETTLED", 3600.0)
    named_labels(run)
    named_labels(run)
    assert len(count) == 2
    old = time.time() - 7200
    for path in (run.folder / LABELS).iterdir():
        os.utime(path, (old, old))
    named_labels(run)
    named_labels(run)
    assert len(count) == 4, "the time of the last change of the file itself cannot be set"
