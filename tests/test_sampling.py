"""The one sampling loop is DDIM as diffusers has it, and a sample is its own whatever stands
beside it.
"""

import dataclasses
import itertools
import threading

import pytest
import torch
from diffusers import DDIMScheduler
from tiny import ONE_LEVEL, last_x, make_unet, model_of

from hcache.errors import UsageError
from hcache.sampling.loop import denoise, predict
from hcache.sampling.noise import start_noise, step_noise
from hcache.sampling.schedule import make_schedule

SEEDS = [3, 0, 11]


@pytest.fixture(scope="module")
def micro():
    return model_of(make_unet(base=ONE_LEVEL))


def scheduled(model, **config):
    return dataclasses.replace(model, scheduler=DDIMScheduler(**config))


def by_diffusers(model, seeds, steps, eta):
    """The same trajectory by DDIMScheduler.step: yields (x_t, x_0, x_next)."""
    scheduler = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(steps)
    x = start_noise(seeds, model.anatomy.x)
    for index, t in enumerate(scheduler.timesteps):
        noise = step_noise(seeds, index, model.anatomy.x) if eta > 0 else None
        with torch.no_grad():
            output = model.network(x, t).sample
        made = scheduler.step(output, t, x, eta=eta, variance_noise=noise)
        yield x, made.pred_original_sample, made.prev_sample
        x = made.prev_sample


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_the_loop_is_ddim(micro, eta, prediction, spacing):
    for clip, steps in itertools.product((True, False), (1, 3, 7)):
        model = scheduled(
            micro, prediction_type=prediction, timestep_spacing=spacing, clip_sample=clip
        )
        ours = list(denoise(model, SEEDS, steps, eta, schedule="diffusers"))
        theirs = list(by_diffusers(model, SEEDS, steps, eta))
        assert len(ours) == len(theirs) == steps
        for step, (x_t, x_0, x_next) in zip(ours, theirs, strict=True):
            for name, mine, other in (
                ("x_t", step.x_t, x_t),
                ("x_0", step.x_0, x_0),
                ("x_next", step.x_next, x_next),
            ):
                torch.testing.assert_close(
                    mine, other, rtol=1e-6, atol=1e-6, msg=f"{name} {clip} {steps} {step.index}"
                )


@pytest.mark.parametrize(
    "config",
    [
        {"set_alpha_to_one": False},
        {"steps_offset": 1},
        {"clip_sample_range": 0.3},
        {"beta_schedule": "squaredcos_cap_v2"},
        {"num_train_timesteps": 100},
        {
            "rescale_betas_zero_snr": True,
            "prediction_type": "v_prediction",
            "timestep_spacing": "trailing",
        },
    ],
    ids=lambda config: next(iter(config)),
)
def test_the_loop_is_ddim_under_every_option_of_the_schedule(micro, config):
    model = scheduled(micro, **config)
    *_, (_, _, theirs) = by_diffusers(model, SEEDS, 9, 0.5)
    torch.testing.assert_close(
        last_x(denoise(model, SEEDS, 9, 0.5, schedule="diffusers")), theirs, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [1, 7, 20, 50])
def test_a_step_ends_where_the_next_one_begins(spacing, steps):
    """Where diffusers' does too, both are the same schedule."""
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    ours, theirs = (
        make_schedule(scheduler, steps),
        make_schedule(scheduler, steps, schedule="diffusers"),
    )
    assert (
        torch.equal(ours.alpha_bar_prev[:-1], ours.alpha_bar[1:]) and ours.alpha_bar_prev[-1] == 1
    )
    assert ours.timesteps == theirs.timesteps and torch.equal(ours.alpha_bar, theirs.alpha_bar)
    meet = spacing == "leading" or steps == 1 or (spacing == "trailing" and 1000 % steps == 0)
    assert torch.equal(ours.alpha_bar_prev, theirs.alpha_bar_prev) == meet


def test_a_schedule_that_is_none_is_refused(micro):
    with pytest.raises(UsageError, match="schedule"):
        next(denoise(micro, [0], 3, schedule="karras"))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_schedule_has_as_many_steps_as_were_asked_for(spacing):
    scheduler = DDIMScheduler(timestep_spacing=spacing)
    for steps in [*range(1, 131), 250, 999, 1000]:
        schedule = make_schedule(scheduler, steps)
        assert len(schedule) == len(schedule.alpha_bar) == len(schedule.alpha_bar_prev) == steps
        assert all(a > b for a, b in itertools.pairwise(schedule.timesteps)), "from noise to image"
        assert 0 <= schedule.timesteps[-1] and schedule.timesteps[0] < 1000


def test_eps_and_x_0_are_of_one_prediction(micro):
    """x_t = √ᾱ x_0 + √(1-ᾱ) ε, for every type of prediction, as long as nothing is clipped."""
    for prediction in ("epsilon", "v_prediction", "sample"):
        model = scheduled(micro, prediction_type=prediction, clip_sample=False)
        schedule = make_schedule(model.scheduler, 5)
        for step in denoise(model, SEEDS, 5):
            a = schedule.alpha_bar[step.index]
            torch.testing.assert_close(
                a**0.5 * step.x_0 + (1 - a) ** 0.5 * step.eps, step.x_t, rtol=1e-5, atol=1e-5
            )


def test_each_step_goes_on_where_the_last_one_ended(tiny_model):
    steps = list(denoise(tiny_model, SEEDS, 6))
    assert [step.index for step in steps] == list(range(6))
    assert tuple(step.t for step in steps) == make_schedule(tiny_model.scheduler, 6).timesteps
    assert all(before.x_next is after.x_t for before, after in itertools.pairwise(steps))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_trajectory_taken_up_again_anywhere_is_the_same(tiny_model, eta):
    steps = list(denoise(tiny_model, SEEDS, 5, eta))
    for step in steps:
        again = last_x(denoise(tiny_model, SEEDS, 5, eta, x_t=step.x_t.clone(), start=step.index))
        assert torch.equal(again, steps[-1].x_next), step.index


def test_a_cached_trajectory_taken_up_again_is_the_same(tiny_model, tiny_run):
    """x is cached in float32 for this: from any step of a shard, all that follows comes out bit
    for bit.
    """
    for shard in tiny_run.shards:
        samples = range(shard.start, shard.stop)
        for index in range(tiny_run.spec.steps):
            x = torch.stack([torch.from_numpy(tiny_run.x(sample, index)) for sample in samples])
            for step in denoise(tiny_model, steps=tiny_run.spec.steps, x_t=x, start=index):
                cached = torch.stack(
                    [torch.from_numpy(tiny_run.x(s, step.index + 1)) for s in samples]
                )
                assert torch.equal(step.x_next, cached), (shard.start, index, step.index)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sample_does_not_depend_on_its_batch(tiny_model, eta):
    """Beyond rounding, that is: a step within 1e-5, and after five steps still far below a
    pixel's 1/127.5.
    """
    together = list(denoise(tiny_model, SEEDS, 5, eta))
    for i, seed in enumerate(SEEDS):
        for step in together:
            alone = next(
                denoise(tiny_model, [seed], 5, eta, x_t=step.x_t[i : i + 1], start=step.index)
            )
            torch.testing.assert_close(alone.eps[0], step.eps[i], rtol=0, atol=1e-5)
        torch.testing.assert_close(
            last_x(denoise(tiny_model, [seed], 5, eta))[0],
            together[-1].x_next[i],
            rtol=0,
            atol=1e-3,
        )
    turned = last_x(denoise(tiny_model, SEEDS[::-1], 5, eta))
    torch.testing.assert_close(turned.flip(0), together[-1].x_next, rtol=0, atol=1e-3)


def test_a_sample_does_not_depend_on_the_order_of_batches(tiny_model):
    batches = [[0, 1], [2, 3], [4, 5]]
    forwards = {batch[0]: last_x(denoise(tiny_model, batch, 3, 1.0)) for batch in batches}
    torch.manual_seed(99)
    backwards = {
        batch[0]: last_x(denoise(tiny_model, batch, 3, 1.0)) for batch in reversed(batches)
    }
    assert all(torch.equal(forwards[key], backwards[key]) for key in forwards)


def test_interleaved_batches_do_not_disturb_one_another(tiny_model):
    first, second = denoise(tiny_model, [0, 1], 4, 1.0), denoise(tiny_model, [2, 3], 4, 1.0)
    pairs = list(zip(first, second, strict=True))
    assert torch.equal(pairs[-1][0].x_next, last_x(denoise(tiny_model, [0, 1], 4, 1.0)))
    assert torch.equal(pairs[-1][1].x_next, last_x(denoise(tiny_model, [2, 3], 4, 1.0)))


def test_noise_is_its_seeds_alone():
    for make in (
        lambda seeds: start_noise(seeds, (2, 4)),
        lambda seeds: step_noise(seeds, 7, (2, 4)),
    ):
        torch.manual_seed(5)
        together = make([4, 9, 4])
        assert torch.equal(together[0], together[2]) and not torch.equal(together[0], together[1])
        torch.manual_seed(6)
        assert torch.equal(make([9])[0], together[1])


def test_no_two_noises_of_a_run_are_the_same():
    seeds, indices = range(40), range(40)
    drawn = [tuple(row) for index in indices for row in step_noise(seeds, index, (3,)).tolist()]
    drawn += [tuple(row) for row in start_noise(seeds, (3,)).tolist()]
    assert len(set(drawn)) == len(drawn)
    values = step_noise(range(200), 0, (50,))
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05


def copies(features, moment):
    return features.map(lambda _, tensor: tensor.clone())


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize(
    "edit", [lambda features, moment: features, copies], ids=["same object", "equal copy"]
)
def test_an_identity_edit_changes_nothing_bit_for_bit(tiny_model, edit, eta, asymmetric):
    plain = list(denoise(tiny_model, SEEDS, 4, eta))
    edited = list(denoise(tiny_model, SEEDS, 4, eta, edit, asymmetric=asymmetric))
    for before, after in zip(plain, edited, strict=True):
        assert torch.equal(before.x_next, after.x_next) and torch.equal(before.x_0, after.x_0)
        assert torch.equal(before.eps, after.eps)


def test_an_edit_is_told_the_moment_and_given_the_encoders_features(tiny_model):
    seen = []

    def note(features, moment):
        seen.append((moment.index, moment.t, features))
        return features.map(lambda _, tensor: tensor + 1)

    for step in denoise(tiny_model, [0], 3, edit=note):
        index, t, features = seen[-1]
        assert (index, t) == (step.index, step.t) and features is step.features
        with torch.no_grad():
            fresh = tiny_model.encode(step.x_t, step.t)
        assert all(torch.equal(fresh[name], tensor) for name, tensor in step.features.items()), (
            "before any edit"
        )


def test_an_asymmetric_edit_enters_p_t_only(tiny_model):
    def push(features, moment):
        return features.replace({"h": features.h + 3})

    x = start_noise(SEEDS, tiny_model.anatomy.x)
    plain = next(denoise(tiny_model, SEEDS, 4, x_t=x))
    both = next(denoise(tiny_model, SEEDS, 4, edit=push, x_t=x))
    only = next(denoise(tiny_model, SEEDS, 4, edit=push, x_t=x, asymmetric=True))
    assert torch.equal(only.x_0, both.x_0) and not torch.equal(only.x_0, plain.x_0)
    assert torch.equal(only.eps, plain.eps) and not torch.equal(both.eps, plain.eps)
    a = make_schedule(tiny_model.scheduler, 4).alpha_bar_prev[0]
    torch.testing.assert_close(
        only.x_next, a**0.5 * both.x_0 + (1 - a) ** 0.5 * plain.eps, rtol=1e-6, atol=1e-6
    )


def test_the_one_step_preview_is_the_loops_x_0(tiny_model):
    for step in denoise(tiny_model, SEEDS, 4):
        assert torch.equal(predict(tiny_model, step.features, step.x_t, step.index, 4), step.x_0)


def test_starting_at_the_end_takes_no_step(tiny_model):
    assert list(denoise(tiny_model, steps=4, x_t=torch.zeros(1, 3, 16, 16), start=4)) == []


X = torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"x_t": X, "eta": 1.0},
        {"seeds": [0], "start": 2},
        {"seeds": [0], "x_t": X},
        {"seeds": [0, 1], "x_t": X, "start": -1},
        {"seeds": [0, 1], "x_t": X, "start": 5},
        {"seeds": [0], "steps": 0},
        {"seeds": [0], "steps": -3},
        {"seeds": [0], "steps": 1001},
        {"seeds": []},
        {"seeds": [0], "eta": 1.5},
        {"seeds": [0], "eta": -0.5},
        {"seeds": [0], "eta": float("nan")},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_together_are_refused(tiny_model, arguments):
    with pytest.raises(UsageError):
        next(denoise(tiny_model, **{"steps": 4, **arguments}))


@pytest.mark.parametrize("config", [{"thresholding": True}, {"prediction_type": "score"}], ids=str)
def test_schedulers_whose_steps_are_not_ddim_are_refused(tiny_model, config):
    with pytest.raises(UsageError):
        next(denoise(scheduled(tiny_model, **config), [0], 4))


def test_the_callers_own_gradients_are_left_alone(tiny_model):
    """Between two steps, and after two loops that ran side by side, the caller is not in
    inference mode.
    """
    modes = {}

    def run():
        first, second = denoise(tiny_model, [0], 2), denoise(tiny_model, [1], 2)
        modes["before"] = torch.is_inference_mode_enabled()
        next(first)
        modes["between two steps"] = torch.is_inference_mode_enabled()
        next(second)
        first.close()
        second.close()
        modes["after"] = torch.is_inference_mode_enabled()

    thread = threading.Thread(target=run)  # the mode is a thread's own
    thread.start()
    thread.join()
    assert modes == {"before": False, "between two steps": False, "after": False}
