"""The benchmark in the browser: its made-up run is one that every page can read, and what it
lacks is said.
"""

import builtins

import numpy as np
import pytest
from playwright.sync_api import Error

from hcache.bench import hand
from hcache.cache.labels import named_labels
from hcache.cache.verify import verify
from hcache.errors import UsageError
from hcache.progress import drive


def test_the_made_up_run_is_whole_and_its_activations_follow_its_labels(tmp_path):
    run = hand.large_run(tmp_path, 6, [999.0, 499.0])
    assert run.complete and len(run) == 6 and run.spec.steps == 2
    assert drive(verify(run.folder)).fine
    labels = named_labels(run)
    assert "smile" in labels and run.images.shape == (6, 64, 64, 3)
    distances = np.linalg.norm(run.matrix("h", 1)[:, None] - run.matrix("h", 1)[None], axis=2)
    factors = np.stack(list(labels.values()), 1)
    apart = np.linalg.norm(factors[:, None] - factors[None], axis=2)
    upper = np.triu_indices(6, 1)
    assert np.corrcoef(distances[upper], apart[upper])[0, 1] > 0.8
    assert hand.large_run(tmp_path, 6, [999.0, 499.0]).name == run.name


def test_the_table_has_medians():
    text = hand.in_words({"page to page": [100.0, 300.0, 900.0], "preview": [50.0]}, 2000)
    assert "2000 samples" in text
    assert [line.split()[-5:] for line in text.splitlines()[1:]] == [
        ["300", "slowest", "900", "n", "3"],
        ["50", "slowest", "50", "n", "1"],
    ]


def test_without_a_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(hand.shutil, "which", lambda _: None)
    with pytest.raises(UsageError, match="install chromium"), hand.browse():
        pass


def test_without_playwright_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest):
        if name.startswith("playwright"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match="pip install playwright"), hand.browse():
        pass


class FakeWatch:
    """Pages of which one is never drawn, and one fails when it is visited again."""

    def __init__(self):
        self.page, self.visits, self.opened = self, [], 0

    def wait_for_timeout(self, milliseconds):
        assert milliseconds == hand.SETTLE

    def links(self):
        return ["Overview", "Gallery", "Swap", "PCA", "Probes"]

    def open(self, address, heading):
        self.opened += 1

    def click(self, link, patience=1):
        self.visits.append((link, patience))
        if link == "PCA" or (link == "Probes" and patience == 1):
            raise Error(f"{link} is not idle\nmore")
        return 100.0 * len(link)


def test_what_fails_is_told_and_left_out_and_the_rest_is_measured(capsys):
    found, watch = hand.Found(), FakeWatch()
    hand.look_at_pages(found, watch, "http://there", 2)
    assert [link for link, patience in watch.visits if patience == 1] == [
        "Overview",
        "Gallery",
        "Probes",
    ] * 2
    assert found.times == {
        "page to page": [800, 800, 700, 700],
        "to Overview": [800, 800],
        "to Gallery": [700, 700],
    }
    assert found.failed == [
        "first visit to PCA: PCA is not idle",
        *["to Probes: Probes is not idle"] * 2,
    ]
    assert watch.opened == 1 and "failed: to Probes" in capsys.readouterr().err
    assert "n 4" in hand.in_words(found.times, 10)
