"""The embedded data set, reader and model: what their card claims, as far as a test can afford."""

import numpy as np
import pytest
import torch

from hcache.cards import default_spec, find_card
from hcache.directions.naive import naive_direction, top_samples
from hcache.edits.render import render_moved
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.recipes.window import Window
from hcache.sampling.loop import denoise
from hcache.toyfaces import losses, networks
from hcache.toyfaces import train as training
from hcache.toyfaces.drawing import draw_dataset, draw_face
from hcache.toyfaces.factors import BINARY, FACTORS, NAMES, Face, sample_face
from hcache.toyfaces.measure import frechet_distance, reader_accuracy
from hcache.toyfaces.reader import WEIGHTS, read, to_tensor

MODEL, STEPS = "toyfaces-ddpm-64", 10


@pytest.fixture(scope="module")
def shipped():
    return load_model(MODEL)


@pytest.fixture(scope="module")
def run(shipped, tmp_path_factory):
    home = tmp_path_factory.mktemp("toyfaces")
    (home / "runs").mkdir()
    return extract(
        shipped,
        default_spec(MODEL, samples=36, steps=STEPS, seed=256, store={"h": "full"}, batch=12),
        home,
    )


def test_a_seed_is_a_face():
    again, (images, factors) = draw_dataset([7, 8]), draw_dataset([7, 8])
    assert np.array_equal(again[0], images) and np.array_equal(again[1], factors)
    assert images.shape == (2, 64, 64, 3) and images.dtype == np.uint8
    assert not np.array_equal(images[0], images[1])
    assert sample_face(7) == sample_face(7) != sample_face(8)


def test_factors_are_independent_and_fill_their_ranges():
    values = np.stack([sample_face(seed).as_array() for seed in range(3000)])
    correlation = np.corrcoef(values.T) - np.eye(len(NAMES))
    assert np.abs(correlation).max() < 0.07  # 3.8 standard errors
    for column, factor in zip(values.T, FACTORS, strict=True):
        assert (
            factor.low <= column.min() < factor.low + 0.01
            and factor.high - 0.01 < column.max() <= factor.high
        )
        if factor.binary:
            assert set(np.unique(column)) == {0.0, 1.0} and abs(column.mean() - factor.share) < 0.04


@pytest.mark.parametrize("factor", FACTORS, ids=NAMES)
def test_every_factor_shows(factor):
    low, high = (
        np.asarray(draw_face(Face(**{factor.name: end})), float)
        for end in (factor.low, factor.high)
    )
    assert (np.abs(low - high).max(2) > 24).sum() > 60, (
        "a factor should change more than a few pixels"
    )


def test_a_factor_out_of_range_is_refused():
    with pytest.raises(ValueError, match="smile must lie in"):
        Face(smile=1.5)


def test_the_reader_reads_drawings_it_never_saw():
    accuracy = reader_accuracy(500)
    assert WEIGHTS.stat().st_size <= 1_000_000
    for name in NAMES:
        assert accuracy["clean"][name] >= (0.99 if name in BINARY else 0.95)
        assert accuracy["degraded"][name] >= (0.99 if name in BINARY else 0.90)


def test_the_shipped_model_is_what_it_should_be(shipped):
    folder = find_card(MODEL).folder
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 16_000_000
    assert 3e6 <= shipped.anatomy.parameters <= 8e6
    assert [len(group) for group in shipped.anatomy.skips] == [3, 3, 3, 3]
    config = shipped.scheduler.config
    assert (config.num_train_timesteps, config.beta_schedule, config.prediction_type) == (
        1000,
        "linear",
        "v_prediction",
    )


def test_the_shipped_latent_model_is_what_it_should_be():
    latent = load_model("toyfaces-ldm-64")
    folder = find_card("toyfaces-ldm-64").folder
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 16_000_000
    assert (latent.anatomy.x, latent.anatomy.h) == ((3, 16, 16), (128, 4, 4))
    images, _ = draw_dataset(range(training.HELD_OUT, training.HELD_OUT + 32))
    before = to_tensor(images)
    after = latent.codec.decode(latent.codec.encode(before))
    assert (after - before).abs().mean() < 0.06, "the autoencoder gives faces back"
    *_, last = denoise(latent, range(16), 20)
    drawn, made = read(images), read(latent.to_images(last.x_next).numpy())
    assert made["hair_colour"].std() > 0.5 * drawn["hair_colour"].std()


def test_the_shipped_model_of_learned_variance_is_what_it_should_be():
    model, folder = load_model("toyfaces-adm-64"), find_card("toyfaces-adm-64").folder
    assert sum(path.stat().st_size for path in folder.rglob("*")) <= 16_000_000
    config = model.network.config
    assert (config.out_channels, config.resnet_time_scale_shift, config.downsample_type) == (
        6,
        "scale_shift",
        "resnet",
    )
    assert [len(group) for group in model.anatomy.skips] == [2, 2, 2, 2]
    *_, last = denoise(model, range(16), STEPS)
    drawn = read(draw_dataset(range(training.HELD_OUT, training.HELD_OUT + 100))[0])
    made = read(model.to_images(last.x_next).numpy())
    for name in ("smile", "yaw", "hair_colour"):
        assert made[name].std() > 0.6 * drawn[name].std(), name


def test_samples_have_factors_that_vary_as_in_the_data(run):
    labels = run.labels["toyfaces"]
    drawn = read(draw_dataset(range(training.HELD_OUT, training.HELD_OUT + 200))[0])
    for name in ("smile", "yaw", "hair_colour", "hair_length"):
        assert labels[name].std() > 0.6 * drawn[name].std(), name
    assert 0.08 < (labels["glasses"] > 0.5).mean() < 0.5


@pytest.mark.parametrize("attribute", [pytest.param("yaw", marks=pytest.mark.slow), "glasses"])
def test_the_naive_direction_moves_what_it_should(shipped, run, attribute):
    values = run.labels["toyfaces"][attribute]
    direction = naive_direction(run, top_samples(run, values, 10))
    samples = top_samples(run, values, 8, highest=False)
    steps = render_moved(
        shipped,
        run,
        samples,
        direction,
        [2.0] * 8,
        Window(first=0, last=STEPS - 1),
        asymmetric=True,
    )
    try:
        while True:
            next(steps)
    except StopIteration as end:
        after = read(end.value)[attribute]
    before = values[[run.position(s) for s in samples]]
    assert (after - before).mean() > 1.0 * values.std()


def test_frechet_distance_by_hand():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4000, 3))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + [3, 0, 0]) == pytest.approx(9, rel=1e-6)
    assert frechet_distance(a, 2 * a) == pytest.approx(3 + np.square(a.mean(0)).sum(), rel=0.05)


def test_training_goes_on_from_its_checkpoint_as_if_never_interrupted(tmp_path):
    torch.manual_seed(0)
    start = networks.ddpm_unet().state_dict()
    images, factors = (torch.from_numpy(d) for d in draw_dataset(range(8)))
    data = (images.permute(0, 3, 1, 2).contiguous(), factors)
    alpha_bar = networks.pixel_scheduler().alphas_cumprod

    def run_until(stop, checkpoint):
        unet = networks.ddpm_unet()
        unet.load_state_dict(start)
        plan = training.Training(steps=4, batch=2, learning_rate=1e-3, warmup=2)
        calls = []

        def make(model):
            inner = losses.diffusion_loss(model, alpha_bar)

            def loss(*batch):
                calls.append(1)
                if len(calls) > stop:
                    raise KeyboardInterrupt
                return inner(*batch)

            return loss

        return training.train(unet, make, data, plan, checkpoint, "cpu")

    whole = run_until(10, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        run_until(2, tmp_path / "parts.pt")
    parts = run_until(10, tmp_path / "parts.pt")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert not all(torch.equal(whole[key], start[key]) for key in whole)


@torch.inference_mode()
def test_a_sample_of_the_shipped_model_does_not_depend_on_its_batch():
    model, steps = load_model(MODEL), 10
    *_, together = denoise(model, [0, 1, 2, 3], steps)
    for i in range(2):
        *_, alone = denoise(model, [i], steps)
        torch.testing.assert_close(alone.x_next[0], together.x_next[i], rtol=0, atol=1e-5)
