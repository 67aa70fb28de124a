"""The pages' cache: bounded by bytes, shared, the one used longest ago goes first."""

import copy
import dataclasses
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import streamlit as st
import torch

from hcache.analysis.similarity import pixel_distance
from hcache.bounded import ByteCache, bytes_of
from hcache.directions.naive import naive_direction
from hcache.directions.store import save_move
from hcache.extraction.run import extract
from hcache.features import Features
from hcache.models.condition import Condition
from hcache.models.conditioners import ByText
from hcache.models.memory import weight_bytes
from hcache.ui import kept, loaders, work
from hcache.ui.similarity_choice import two_samples
from hcache.ui.work import keep_result


def rows(count):
    return np.zeros((count, 10), np.float32)  # 40 bytes a row


@dataclasses.dataclass(frozen=True)
class Pair:
    first: np.ndarray
    second: object


class Packed(msgspec.Struct, kw_only=True):
    data: tuple[bytes, ...]
    number: int


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (rows(3), 120),
        (torch.zeros(3, 10), 120),
        (b"12345", 5),
        (None, 0),
        (7, 0),
        ((rows(1), [rows(2)], {"a": rows(3)}), 240),
        (Pair(rows(1), Pair(rows(1), b"123")), 83),
        (Features(h=torch.zeros(2, 3), skips=((torch.zeros(5),), None)), 44),
        ((b"1234567", 3), 7),
        (Packed(data=(b"1234567",), number=3), 7),
    ],
    ids=str,
)
def test_what_a_value_takes_is_what_its_arrays_take(value, count):
    assert bytes_of(value) == count


def test_a_value_that_holds_itself_is_weighed():
    value = [rows(1)]
    value.append(value)
    assert 40 <= bytes_of(value) <= 400


class Growing:
    """Adds to what holds it while it is weighed, as another thread does."""

    def __init__(self, holder):
        self.holder = holder

    @property
    def nbytes(self):
        self.holder[len(self.holder)] = b""
        return 5


def test_what_grows_while_it_is_weighed_is_weighed(copied_run):
    value = {}
    value["first"] = Growing(value)
    assert bytes_of(value) == 5 and len(value) == 2
    holder = kept.kept_runs()
    object.__setattr__(copied_run, "rows", GrowingRows((3, 10), np.float32))
    copied_run.rows.holder = vars(copied_run)
    assert holder.weigh(copied_run) >= 120


class GrowingRows(np.ndarray):
    """An array that adds to its run while it is weighed."""

    holder = None

    @property
    def nbytes(self):
        self.holder["more"] = None
        return 120


def test_a_value_can_be_looked_for_and_kept_without_a_function():
    cache = ByteCache(400)
    assert cache.find("a") is None and cache.find("a", 3) == 3
    cache.keep("a", rows(2))
    assert cache.find("a").shape == (2, 10)
    with pytest.raises(ValueError, match="read-only"):
        cache.find("a")[0, 0] = 1
    cache.keep("large", rows(100))
    assert cache.find("large") is None


def test_what_is_kept_never_takes_more_bytes_than_it_may():
    cache, made = ByteCache(400), []
    for step in range(20):
        cache.get(step, lambda step=step: made.append(step) or (rows(2), rows(2)))
        assert cache.bytes <= 400
    assert made == list(range(20)) and cache.bytes == 320
    cache.get(18, lambda: pytest.fail("it was kept"))
    cache.get(20, lambda: rows(4))
    cache.get(18, lambda: pytest.fail("used later than 19"))
    assert cache.get(19, lambda: rows(1)).shape == (1, 10), "the one used longest ago made room"


def test_what_is_too_large_is_not_kept_and_pushes_nothing_out():
    cache = ByteCache(400)
    cache.get("small", lambda: rows(4))
    assert cache.get("large", lambda: rows(100)).shape == (100, 10)
    cache.get("small", lambda: pytest.fail("it was kept"))
    assert cache.bytes == 160


def test_of_values_that_grow_the_last_is_kept_and_the_others_make_room():
    cache = ByteCache(400, keep_last=True)
    cache.get("old", lambda: [rows(1)])
    grown = cache.get("new", lambda: [rows(1)])
    grown.append(rows(100))
    assert cache.get("new", list) is grown and cache.bytes == 4040, "it is in use"
    assert cache.get("old", lambda: "made again") == "made again" and cache.bytes == 10


def test_what_is_shared_cannot_be_written():
    with pytest.raises(ValueError, match="read-only"):
        ByteCache(400).get(1, lambda: rows(4))[0, 0] = 1


@pytest.fixture
def small(monkeypatch):
    """Pages that may keep little."""
    monkeypatch.setattr(kept, "KEPT_BYTES", 20_000)
    monkeypatch.setattr(kept, "RUN_BYTES", 100)
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def test_pages_keep_no_more_than_they_may_of_anything(small, copied_run, tmp_path):
    """Matrices, projections, components, sprites, pictures: each is asked for at every step."""
    folder, n = str(copied_run.folder), len(copied_run)
    for site in ("h", "skip.1"):
        for step in range(copied_run.spec.steps):
            made = loaders.matrix(folder, n, site, step)
            assert made.shape == (n, copied_run.width(site))
            loaders.projection_at(folder, n, site, step)
            loaders.components(folder, n, site, step)
            assert 0 < kept.kept_values().bytes <= 20_000
    loaders.sprite_of(folder, n)
    assert len(loaders.picture_uris(folder, n)[:]) == n
    loaders.components(folder, n, "h", 0)
    assert 0 < kept.kept_values().bytes <= 20_000


def test_a_run_that_was_extracted_anew_in_its_folder_is_seen_anew(
    copied_run, tiny_model, tiny_spec, tmp_path
):
    """It has as many samples as the one before, of other seeds."""
    st.cache_data.clear()
    st.cache_resource.clear()
    folder, n = str(copied_run.folder), len(copied_run)

    def seen():
        return (
            loaders.matrix(folder, n, "h", 1),
            loaders.components(folder, n, "h", 1).scores,
            loaders.projection_at(folder, n, "h", 1).scores,
            np.frombuffer(loaders.sprite_of(folder, n)[0], np.uint8),
            np.array(loaders.picture_uris(folder, n)[:]),
            two_samples(loaders.shared_run(Path(folder)), {"pixels": pixel_distance})["pixels"],
        )

    before = seen()
    assert all(
        one is not None and np.array_equal(one, two)
        for one, two in zip(before, seen(), strict=True)
    )
    other = extract(tiny_model, dataclasses.replace(tiny_spec, seed=900), tmp_path / "other")
    shutil.rmtree(folder)
    shutil.copytree(other.folder, folder)
    for one, two in zip(before, seen(), strict=True):
        assert not np.array_equal(one, two)


def test_an_addresses_list_weighs_what_was_made_of_it(small, copied_run):
    uris = loaders.picture_uris(str(copied_run.folder), len(copied_run))
    before = uris.nbytes
    assert uris[0].startswith("data:") and uris.nbytes == before + len(uris[0])


def test_of_opened_runs_the_last_is_kept_with_its_pictures(small, copied_run, tiny_run):
    for _ in range(2):
        for run in (copied_run, tiny_run):
            opened = loaders.shared_run(run.folder)
            assert opened.images.nbytes > 100 and loaders.shared_run(run.folder) is opened
            assert kept.kept_runs().bytes == kept.kept_runs().weigh(opened), "and no other"


def test_a_direction_that_was_replaced_is_read_anew(small, copied_run):
    from hcache.ui.panels.directions import saved_move

    save_move(copied_run, "way", naive_direction(copied_run, [0, 1]))
    first = saved_move(copied_run, "way")
    assert kept.kept_values().bytes in (0, bytes_of(first))
    other = naive_direction(copied_run, [5, 6])
    save_move(copied_run, "way", other, replace=True)
    np.testing.assert_array_equal(saved_move(copied_run, "way").delta, other.delta)


def test_a_session_keeps_its_last_results_by_their_bytes(monkeypatch):
    monkeypatch.setattr(work, "SESSION_BYTES", 400)
    state = {}

    def kept_now():
        return {(n, q) for n in ("strip", "swap") for q in state.get(f"results-{n}", {})}

    for number in range(6):
        keep_result(state, "strip", number, [rows(2)])
    assert kept_now() == {("strip", k) for k in (1, 2, 3, 4, 5)}
    keep_result(state, "strip", 1, [rows(2)])  # made again: now it is the latest
    keep_result(state, "swap", 0, rows(4))
    assert kept_now() == {("strip", 4), ("strip", 5), ("strip", 1), ("swap", 0)}
    keep_result(state, "swap", 1, rows(100))
    assert kept_now() == {("swap", 1)}, "the last is kept, however large it is"


def test_of_models_those_used_last_are_kept_by_the_bytes_of_their_weights(
    small, monkeypatch, tiny_model
):
    size = weight_bytes(tiny_model)
    assert size == sum(4 * p.numel() for p in tiny_model.network.parameters())

    def load():
        made.append(dataclasses.replace(tiny_model, network=copy.deepcopy(tiny_model.network)))
        return made[-1]

    for bytes_allowed, loads in ((2 * size, 2), (size, 4)):
        made = []
        monkeypatch.setattr(kept, "MODEL_BYTES", bytes_allowed)
        st.cache_resource.clear()
        for name in ("a", "b", "a", "b"):
            kept.kept_models().get(name, load)
        assert len(made) == loads
        assert kept.kept_models().bytes <= bytes_allowed


def test_the_text_encoders_that_a_model_holds_in_functions_are_weighed(tiny_model):
    def held_by(pipeline):
        return lambda prompt, _: pipeline["text_encoder"](prompt)

    encoder = torch.nn.Linear(10, 10, bias=False)  # 400 bytes
    with_texts = dataclasses.replace(
        tiny_model, conditioner=ByText(held_by({"text_encoder": encoder, "again": encoder}))
    )
    assert weight_bytes(with_texts) == weight_bytes(tiny_model) + 400


def test_the_conditions_of_prompts_are_kept_by_their_bytes():
    asked = []

    def encode(prompt, negative):
        asked.append(prompt)
        return Condition(text=torch.zeros(1, 2**10, 2**12))  # 16 MiB

    by_text = ByText(encode)
    for prompt in ("a", "b", "c", "d", "e", "e", "d", "a"):
        assert by_text.encode(prompt, False).text.shape == (1, 2**10, 2**12)
    assert asked == ["a", "b", "c", "d", "e", "a"], "64 MiB of them are kept"
