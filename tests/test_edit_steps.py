"""t_edit and t_boost as Asyrp chooses them, by stand-ins for LPIPS whose crossings are known."""

import json

import numpy as np
import pytest
import torch
from reader_models import save_clip
from tiny import drain

from hcache.analysis.estimate import Estimate
from hcache.cli.main import main
from hcache.errors import AnalysisError, ModelError, UsageError
from hcache.measures import edit_steps
from hcache.measures.edit_steps import (
    BOOST,
    BOOST_FROM_X,
    EDIT,
    Rule,
    choose_steps,
    cosine_of,
    crossing,
    distance_for,
    rule_for,
)
from hcache.readers.encoder import load_encoder
from hcache.sampling.inversion import inversion_steps, invert


class Growing:
    """A distance that is 0.1, 0.2, … at one call after the other, the same for all pictures."""

    def __init__(self):
        self.calls = 0

    def __call__(self, a, b):
        assert a.shape == b.shape and a.dtype == b.dtype == np.uint8
        self.calls += 1
        return np.full(len(a), self.calls / 10)


def test_the_least_t_that_reaches_the_threshold_is_chosen(tiny_model, tiny_run):
    """The timesteps of 8 steps are 875, …, 0; the first that is asked with noise is 0."""
    distance = Growing()
    work = choose_steps(tiny_model, tiny_run, distance, Rule(cosine=0.5), steps=8)
    shares, found = drain(work)
    assert found.timesteps == (0, 125, 250, 375, 500, 625, 750) and distance.calls == 7
    np.testing.assert_allclose(found.distances[:, 0], np.arange(1, 8) / 10)
    assert found.distances.shape == (7, len(tiny_run)) and found.t_edit.n == len(tiny_run)
    assert found.t_edit.value == 125, "0.33 * 0.5 lies between 0.1 and 0.2"
    assert found.t_boost.value == 0 and found.t_boost.low == found.t_boost.high == 0
    assert shares == sorted(shares) and shares[-1] == 1
    window = found.window(tiny_run)
    assert [tiny_run.timesteps[i] for i in range(window.first, window.last + 1)] == [750, 500, 250]


def test_the_boost_may_go_by_x_t_with_its_own_threshold(tiny_model, tiny_run):
    """P_t and x_t of a step are asked one after the other: x_t has 0.2, 0.4, …"""
    rule = rule_for("lpips", 1.0, from_x=True)
    assert (rule.edit, rule.boost) == (EDIT, BOOST_FROM_X) == (0.33, 1.2)
    assert rule_for("lpips", 1.0).boost == BOOST == 0.1
    found = drain(choose_steps(tiny_model, tiny_run, Growing(), rule, steps=8))[1]
    np.testing.assert_allclose(found.of_x[:, 0], np.arange(1, 8) / 5)
    assert found.t_boost.value == 625 and found.t_edit.value == 250


def test_pictures_are_those_of_p_t_along_the_inversion(tiny_model, tiny_run):
    seen = []

    def distance(a, b):
        seen.append((a, b))
        return np.linspace(0.5, 1, len(a))

    drain(choose_steps(tiny_model, tiny_run, distance, Rule(cosine=1.0), samples=[7, 8]))
    pictures = tiny_run.images[[7, 8]]
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    levels = list(invert(tiny_model, x, 4))
    for (found, beside), x_t, t in zip(seen, levels, (0, 250, 500), strict=False):
        np.testing.assert_array_equal(beside, pictures)
        with torch.inference_mode():
            eps = tiny_model.network(x_t, t).sample
        a = tiny_model.scheduler.alphas_cumprod[t]
        predicted = ((x_t - (1 - a) ** 0.5 * eps) / a**0.5).clamp(-1, 1)
        expected = tiny_model.to_images(predicted).numpy().astype(int)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_inversion_with_its_predictions_is_the_inversion(tiny_model, tiny_run):
    x = torch.randn(2, *tiny_run.anatomy.x, generator=torch.Generator().manual_seed(0))
    steps = list(inversion_steps(tiny_model, x, 4))
    for step, level in zip(steps, invert(tiny_model, x, 4), strict=True):
        assert torch.equal(step.x_next, level)
    assert [step.index for step in steps] == [3, 2, 1, 0] and torch.equal(steps[0].x_t, x)
    assert [step.clean for step in steps] == [True, False, False, False]


def test_the_interval_is_over_pictures():
    """Half of the pictures cross at 100, half at 200: the mean in between, draws on both sides."""
    distances = np.zeros((3, 40))
    distances[1, :20] = 1
    distances[2] = 1
    found = crossing([0, 100, 200], distances, 0.55, "t_edit")
    assert (found.value, found.low, found.high) == (200, 100, 200)
    sure = crossing([0, 100, 200], distances, 0.2, "t_edit")
    assert (sure.value, sure.low, sure.high) == (100, 100, 100)


def test_a_threshold_that_is_never_reached_is_said():
    with pytest.raises(AnalysisError, match="t_edit is not known.*0.2 at most, expected 0.33"):
        crossing([0, 100], np.full((2, 4), 0.2), 0.33, "t_edit")
    with pytest.raises(AnalysisError, match="not finite"):
        crossing([0, 100], np.full((2, 4), np.nan), 0.33, "t_edit")


def test_bad_choices_are_refused(tiny_model, tiny_run):
    with pytest.raises(UsageError, match="2 pictures or more and along 3 steps"):
        drain(choose_steps(tiny_model, tiny_run, Growing(), Rule(cosine=1.0), samples=[7]))
    for cosine in (0.0, -0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="cosine"):
            Rule(cosine=cosine)
    with pytest.raises(UsageError, match="threshold of boost"):
        Rule(cosine=1.0, boost=0.0)
    with pytest.raises(UsageError, match="ms_ssim has no published thresholds"):
        rule_for("ms_ssim", 1.0, edit=0.3)
    with pytest.raises(UsageError, match="S_dir is no distance"):
        distance_for("s_dir", 64)


def test_the_cosine_is_that_of_the_texts(tmp_path):
    clip = str(save_clip(tmp_path / "clip"))
    one, other = load_encoder(clip, "", "cpu", True).texts(["a face", "a happy face"])
    assert cosine_of(clip, "a face", "a happy face", "cpu") == pytest.approx(float(one @ other))
    with pytest.raises(UsageError, match="give two texts"):
        cosine_of(clip, "", "a happy face", "cpu")


def run_of(copied_run, capsys, *more):
    code = main(["edit-steps", copied_run.name, *more, "--home", str(copied_run.home)])
    return code, capsys.readouterr()


def test_the_command_says_what_lpips_lacks_and_offers_another_distance(
    copied_run, capsys, monkeypatch
):
    import sys

    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    code, out = run_of(copied_run, capsys, "--cosine", "0.9")
    line = out.err.strip().splitlines()[-1]
    assert code == 2 and "pip install hcache[lpips]" in line
    assert "choose another distance by name" in line
    code, out = run_of(copied_run, capsys, "--cosine", "0.9", "--distance", "pixels")
    assert code == 2 and "no published thresholds" in out.err
    code, out = run_of(copied_run, capsys)
    assert code == 2 and "--clip MODEL --source TEXT --target TEXT, or --cosine C" in out.err


def test_the_command_chooses_by_a_named_distance(copied_run, capsys):
    more = ("--cosine", "0.5", "--distance", "pixels", "--json")
    thresholds = ("--edit-threshold", "1e-6", "--boost-threshold", "1e-6")
    code, out = run_of(copied_run, capsys, *more, *thresholds)
    found = json.loads(out.out)
    assert code == 0 and found["distance"] == "pixels"
    first = found["timesteps"][int(np.argmax(np.array(found["means"]) >= 1e-6))]
    assert found["t_edit"]["value"] == found["t_boost"]["value"] == first
    assert found["window"][0] == 0


def test_a_missing_weight_is_named_with_the_way_out(tmp_path, monkeypatch):
    from dataclasses import replace

    from hcache.similarities.registry import SIMILARITIES

    def missing(_):
        raise ModelError("LPIPS needs the weights of AlexNet: download it")

    lacking = {"lpips": replace(SIMILARITIES["lpips"], open=missing)}
    monkeypatch.setattr(edit_steps, "SIMILARITIES", lacking)
    with pytest.raises(ModelError, match="weights of AlexNet: download it. Or choose another"):
        distance_for("lpips", 64)


def test_one_press_on_the_page_sets_the_steps_and_the_boost(copied_run, monkeypatch):
    import streamlit as st
    from streamlit.testing.v1 import AppTest
    from test_pages import finish, open_page

    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    monkeypatch.setattr(edit_steps, "distance_for", lambda *_: lambda a, b: np.ones(len(a)))
    monkeypatch.setattr(edit_steps, "cosine_of", lambda *_: 1.0)

    def at_250(timesteps, distances, threshold, name):
        return Estimate(value=250.0, low=0.0, high=500.0, n=distances.shape[1])

    monkeypatch.setattr(edit_steps, "crossing", at_250)
    page = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "edit")
    page.selectbox(key="choose-method").set_value("random").run()
    page.text_input(key="choose-steps-clip").set_value("a-clip").run()
    page = finish(page, "run-edit-steps")
    assert not page.exception
    window = next(each for each in page.slider if each.label == "Steps")
    assert tuple(window.value) == (0, 2)
    boost = next(each for each in page.number_input if each.label.startswith("Noise boost"))
    assert boost.value == 250
    assert any("t_edit 250 (0 to 500), t_boost 250" in each.value for each in page.caption)
