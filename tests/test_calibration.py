"""InjectFusion's calibration: its formula by independent code, and what it leaves alone."""

import numpy as np
import pytest
import torch
from tiny import drain, make_unet, model_of

from hcache.edits.executor import Executor
from hcache.edits.render import render_recipes
from hcache.edits.slerp import SlerpEdit
from hcache.errors import UsageError
from hcache.recipes.edits import DonorRef
from hcache.recipes.recipe import Recipe, recipe_of
from hcache.recipes.window import Window
from hcache.sampling.calibration import Calibration, calibrated_x
from hcache.sampling.loop import denoise
from hcache.sampling.schedule import schedule_of

STEPS = 3


@pytest.fixture(scope="module")
def model():
    return model_of(make_unet(), clip_sample=False)


def lift(features, moment):
    return features.replace({"h": features.h + 1})


def of(omega, dt_lambda):
    numbers = torch.tensor([omega, dt_lambda], dtype=torch.float32)
    found = Calibration(omega=numbers[:1], dt_lambda=numbers[1:])
    return lambda index: found


def published(model, x, index, omega, dt_lambda):
    """The step as the published code writes it, of one sample; eta 0."""
    levels = schedule_of(model, STEPS)
    t, at, nxt = levels.timesteps[index], levels.alpha_bar[index], levels.alpha_bar_prev[index]
    with torch.no_grad():
        features = model.encode(x, t)
        et = model.decode(features, t)
        et_modified = model.decode(lift(features, None), t)
        x0 = (x - et_modified * (1 - at).sqrt()) / at.sqrt()
        if dt_lambda != 1:
            return nxt.sqrt() * x0 + (1 - nxt).sqrt() * et * dt_lambda
        plain = (x - et * (1 - at).sqrt()) / at.sqrt()
        spread = (plain - plain.mean()).std() / (x0 - x0.mean()).std()
        wanted = x0.mean() + (x0 - x0.mean()) * spread
        x = x + at.sqrt() * (wanted - plain) + omega * (1 - at).sqrt() * (et_modified - et)
        et = model.decode(model.encode(x, t), t)
        x0 = (x - et * (1 - at).sqrt()) / at.sqrt()
        return nxt.sqrt() * x0 + (1 - nxt).sqrt() * et


@pytest.mark.parametrize(("omega", "dt_lambda"), [(0.3, 1.0), (1.0, 1.0), (0.0, 0.9985)])
def test_every_step_is_the_published_one(model, omega, dt_lambda):
    calibrate = of(omega, dt_lambda)
    steps = denoise(model, [4], STEPS, edit=lift, asymmetric=True, calibrate=calibrate)
    plain = list(denoise(model, [4], STEPS, edit=lift, asymmetric=True))
    for step in steps:
        expected = published(model, step.x_t, step.index, omega, dt_lambda)
        torch.testing.assert_close(step.x_next, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(step.x_next, plain[-1].x_next)


def test_nothing_to_calibrate_changes_nothing(model):
    plain = list(denoise(model, [4], STEPS, edit=lift, asymmetric=True))
    for calibrate in (of(0.0, 1.0), lambda index: None):
        same = denoise(model, [4], STEPS, edit=lift, asymmetric=True, calibrate=calibrate)
        for a, b in zip(plain, same, strict=True):
            assert torch.equal(a.x_next, b.x_next)


def test_a_row_without_omega_stays_as_it_is():
    rng = torch.Generator().manual_seed(0)
    x, eps, edited = torch.randn(3, 2, 3, 4, 4, generator=rng)
    found = calibrated_x(x, eps, edited, torch.tensor(0.4), torch.tensor([0.0, 0.5]))
    assert torch.equal(found[0], x[0]) and not torch.allclose(found[1], x[1])


def test_calibration_is_of_asymmetric_edits(model):
    with pytest.raises(UsageError, match="asymmetric edit of a diffusion model"):
        next(denoise(model, [4], STEPS, edit=lift, calibrate=of(0.3, 1.0)))


def turn(run, **more):
    donor = DonorRef(run=run.name, sample=2)
    return SlerpEdit(donor=donor, gamma=0.6, window=Window(first=0, last=2), **more)


def test_a_recipe_carries_it_and_each_row_has_its_own(tiny_run, tiny_model):
    scaled = turn(tiny_run, dt_lambda=0.9, dt_end=0)
    edits = [turn(tiny_run), turn(tiny_run, omega=0.5), scaled]
    recipes = [recipe_of(tiny_run, 1, [edit], asymmetric=True) for edit in edits]
    assert len({recipe.digest for recipe in recipes}) == 3
    assert "omega" not in recipes[0].to_text() and "dt_lambda" not in recipes[0].to_text()
    again = [Recipe.from_json(recipe.to_json()) for recipe in recipes]
    assert again == recipes
    cells = drain(render_recipes(tiny_model, tiny_run, recipes, tiny_run.home))[1]
    assert len({cell.picture.tobytes() for cell in cells}) == 3
    (alone,) = drain(render_recipes(tiny_model, tiny_run, recipes[1:2], tiny_run.home))[1]
    apart = np.abs(alone.picture.astype(int) - cells[1].picture.astype(int)).max()
    assert apart <= 1, "whatever rows stand beside it"


def test_what_does_not_go_together_is_refused(tiny_run, tiny_model):
    with pytest.raises(UsageError, match="omega or dt_lambda"):
        turn(tiny_run, omega=0.5, dt_lambda=0.9)
    with pytest.raises(UsageError, match="set asymmetric"):
        recipe_of(tiny_run, 1, [turn(tiny_run, omega=0.5)])
    two = [turn(tiny_run, omega=0.5), turn(tiny_run, omega=0.2)]
    with pytest.raises(UsageError, match="not several"):
        Executor(tiny_model, tiny_run).change([two])
    with pytest.raises(UsageError, match="give dt_lambda, too"):
        turn(tiny_run, dt_end=900)
    styled = turn(tiny_run, omega=0.5)
    assert styled.calibration(3, 10) is None and styled.calibration(1, 10) == (0.5, 1.0)
    scaled = turn(tiny_run, dt_lambda=0.9)
    assert scaled.calibration(0, 950) == (0, 0.9) and scaled.calibration(0, 949) == (0, 1)
    assert turn(tiny_run, dt_lambda=0.9, dt_end=10).calibration(0, 10) == (0, 0.9)
