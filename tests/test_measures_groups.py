"""Samples that belong together: what they share is no evidence, in any measure."""

import numpy as np
import pytest
from test_cli import main
from tiny import synthetic_run

from hcache.analysis.alignment import alignment_of_gram
from hcache.analysis.controllability import controllability
from hcache.analysis.direction_cosines import cosines
from hcache.analysis.disentanglement import dci, sap
from hcache.analysis.groups import group_means, same_group
from hcache.analysis.linearity import additivity_contrast
from hcache.analysis.probes import gram_matrix
from hcache.cache.labels import save_labels
from hcache.cache.reading import Run, open_run
from hcache.cache.records import list_records, save_record
from hcache.errors import AnalysisError
from hcache.measures.cells import cells_of, leaves_out
from hcache.measures.duplicates import duplicates_in_words, duplicates_of
from hcache.measures.groups import groups_among
from hcache.measures.kinds import ALIGNMENT, SWAP
from hcache.progress import drive
from hcache.specs import RunSpec

GROUPS = np.repeat(np.arange(16), 6)
SETS = 40


def of_groups(seed, d=24):
    """Data (96, d) of 16 groups of 6, mostly what a group shares; and a label dealt to groups."""
    rng = np.random.default_rng(seed)
    data = 2 * rng.normal(size=(16, d))[GROUPS] + rng.normal(size=(96, d))
    return data, rng.permutation(np.repeat([1.0, -1.0], 8))[GROUPS], rng


def called(test, sets=SETS):
    """How many data sets with labels of nothing are significant at 5 %."""
    return sum(test(*of_groups(seed)) <= 0.05 for seed in range(sets))


@pytest.mark.slow
def test_positives_that_are_groups_agree_by_chance_and_are_not_called():
    def by(groups):
        return lambda data, label, _: (
            alignment_of_gram(gram_matrix(data), label > 0, repeats=20, groups=groups).p
        )

    assert called(by(GROUPS), 24) <= 5 and called(by(None), 12) > 6


def test_directions_of_labels_of_groups_are_known_to_be_chance():
    """Over samples such a direction is reliable: five of six copies say what the sixth says. By
    groups it is told to be chance, and there is no estimate; nor is its cosine called."""
    known, called_by_groups = [0, 0], 0
    for seed in range(SETS):
        data, label, rng = of_groups(seed)
        other = rng.permutation(np.repeat([1.0, -1.0], 8))[GROUPS]
        ends, gram = {"a": label, "b": other}, gram_matrix(data)
        (apart,), (together,) = (
            cosines(gram, ends, repeats=20, groups=each) for each in (None, GROUPS)
        )
        known[0] += apart.cosine is not None
        known[1] += together.cosine is not None
        called_by_groups += together.p <= 0.05
    assert called_by_groups <= 6, "2 are 5 % of 40"
    assert known[0] >= 36 and known[1] <= 12, known


def test_codes_tell_no_factor_of_groups_and_say_of_how_many_groups_they_are():
    """A probe that sees five of six copies knows the sixth; held out by groups it knows nothing."""
    data, label, rng = of_groups(3, d=12)
    factors = np.stack([label, rng.normal(size=16)[GROUPS]], 1)
    apart, together = (dci(data, factors, repeats=20, groups=each) for each in (None, GROUPS))
    told = min(r2.value for r2 in apart.informativeness)
    assert told > 0.25 and max(r2.value for r2 in together.informativeness) < told - 0.2
    assert not together.disentanglement.defined or together.disentanglement.n == 16
    wide, narrow = (sap(data, factors, repeats=200, groups=each).score for each in (GROUPS, None))
    assert wide.high - wide.low > 1.3 * (narrow.high - narrow.low) and wide.n == 16


def test_an_edit_that_moves_groups_by_chance_is_not_called():
    """Every group has its own change of mean 0: over samples it looks certain."""

    def by(groups):
        def test(data, label, rng):
            change = rng.normal(size=16)[GROUPS] + 0.1 * rng.normal(size=96)
            nulls = 0.01 * rng.normal(size=(19, 96))
            return controllability(group_means(change, groups), group_means(nulls, groups, 1)).p

        return test

    assert called(by(GROUPS)) <= 6 < SETS / 3 < called(by(None))


def test_means_of_groups_are_means():
    values = np.arange(12.0).reshape(2, 6)
    found = group_means(values, np.array([0, 1, 1, 0, 0, 7]), 1)
    np.testing.assert_allclose(found, [[7 / 3, 1.5, 5], [25 / 3, 7.5, 11]])
    assert group_means(values, None) is values
    with pytest.raises(AnalysisError, match="the 6 samples belong together"):
        group_means(values, np.zeros(6, int), 1)
    assert same_group(np.array([0, 0, 1]), 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert same_group(None, 2).tolist() == [[1, 0], [0, 1]]


@pytest.fixture
def copied(tmp_path):
    """A run of 12 whose pictures 3 and 9, and 4, 5 and 6, are the same."""
    rng = np.random.default_rng(0)
    spec = RunSpec(model="planted", samples=12, steps=1, store_dtype="float32")
    h = rng.normal(size=(1, 12, 1, 2, 2)).astype(np.float32)
    x = rng.normal(size=(2, 12, 3, 8, 8)).astype(np.float32)
    run = synthetic_run(tmp_path, spec, h, [(0, 6), (6, 12)], x=x)
    pictures = rng.integers(0, 255, (12, 8, 8, 3)).astype(np.uint8)
    pictures[9], pictures[[5, 6]] = pictures[3], pictures[4]
    object.__setattr__(run, "image_blocks", lambda wanted: iter([(list(range(12)), pictures)]))
    return run


def test_copies_of_pictures_are_found_once_and_named(copied):
    assert duplicates_in_words(copied) == "", "nothing was looked for yet"
    record = drive(duplicates_of(copied))
    assert record.result == {"same": [[3, 9], [4, 5, 6]]}
    words = duplicates_in_words(copied)
    assert words.startswith("3 of 12 samples have the same picture as another (3 = 9, 4 = 5 = 6)")
    object.__setattr__(copied, "image_blocks", None)
    assert drive(duplicates_of(copied)).result == record.result, "looked up"


def test_groups_among_samples_are_those_of_the_run(copied):
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    assert groups_among(copied, groups, [0, 1, 4]).tolist() == [0, 0, 1]
    assert groups_among(copied, groups, [0, 2, 4]) is None
    assert groups_among(copied, None, [0, 1]) is None


def test_a_command_warns_of_copies(tmp_path, capsys, monkeypatch):
    """The warning is one line, and goes to stderr."""
    same = (list(range(20)), np.zeros((20, 8, 8, 3), np.uint8))
    monkeypatch.setattr(Run, "image_blocks", lambda run, wanted: iter([same]))
    rng = np.random.default_rng(1)
    spec = RunSpec(model="planted", samples=20, steps=1, store_dtype="float32")
    x = rng.normal(size=(2, 20, 3, 8, 8)).astype(np.float32)
    run = synthetic_run(tmp_path, spec, rng.normal(size=(1, 20, 1, 2, 2)).astype(np.float32), x=x)
    save_labels(run, "mine", {"age": dict(enumerate(rng.normal(size=20).tolist()))})
    run = open_run(run.folder)
    command = ["probe", run.name, "--label", "age", "--site", "h", "--home", str(tmp_path)]
    assert main(command) == 0
    told = capsys.readouterr()
    assert "19 of 20 samples have the same picture" in told.err
    assert "same picture" not in told.out


def test_what_does_not_add_up_is_known_no_better_by_copies():
    """Every sample six times, as a group: the interval is that of the groups."""
    rng = np.random.default_rng(0)
    once = [rng.normal(size=(16, 3)) for _ in range(4)]
    null = [rng.normal(size=(16, 3)) for _ in range(4)]
    often, of_null = ([part[GROUPS] for part in each] for each in (once, null))

    def width(measured, null, **options):
        found = additivity_contrast([measured], [null], repeats=500, **options).measured
        return found.high - found.low

    assert width(often, of_null, clusters=GROUPS) == pytest.approx(width(once, null), rel=0.2)
    assert width(often, of_null) < 0.6 * width(once, null)


def test_measure_takes_a_label_that_names_the_groups(grouped, capsys):
    home = str(grouped.folder.parent.parent)
    words = ["measure", grouped.name, "--home", home, "--what", "alignment", "--label", "age"]
    assert main(words) == 0 and main([*words, "--groups", "person"]) == 0
    apart, together = sorted(
        list_records(grouped, ALIGNMENT), key=lambda record: "groups" in record.parameters
    )
    assert "groups" not in apart.parameters and together.parameters["groups"]
    (cell,) = cells_of(open_run(grouped.folder)).values()
    assert cell.evidence.parameters == together.parameters, "that by groups is shown"
    capsys.readouterr()
    assert main([*words, "--groups", "nobody"]) != 0
    assert "nobody" in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def grouped(tmp_path):
    """A run of 24 samples of 6 persons; the run itself does not know of persons."""
    rng = np.random.default_rng(0)
    spec = RunSpec(model="planted", samples=24, steps=4, store_dtype="float32")
    h = rng.normal(size=(4, 24, 2, 2, 2)).astype(np.float32)
    x = rng.normal(size=(5, 24, 3, 8, 8)).astype(np.float32)
    run = synthetic_run(tmp_path, spec, h, [(0, 24)], x=x)
    columns = {"age": dict(enumerate(rng.normal(size=24))), "person": {}}
    columns["person"] = {sample: sample // 4 for sample in range(24)}
    save_labels(run, "told", columns)
    return open_run(run.folder)


def test_results_on_samples_that_belong_together_are_older_if_they_take_each_alone(grouped):
    groups = np.repeat(np.arange(6), 4)
    for tried, older in (([0, 1, 8], True), ([0, 4, 8], False)):
        record = save_record(grouped, SWAP, {"pairs": {"recipients": tried}}, {})
        assert leaves_out(record, grouped, groups) is older
        assert not leaves_out(record, grouped, None)
    record = save_record(grouped, SWAP, {"pairs": {"recipients": [0, 1]}, "groups": "ab"}, {})
    assert not leaves_out(record, grouped, groups)
