"""From a name to a model: cards, folders, and failures in words."""

import dataclasses
import json
import shutil

import pytest
import torch
from kinds import save_kind
from tiny import drain, make_unet, save_pipeline

from hcache.anatomies import known_anatomy
from hcache.cache.reading import open_run
from hcache.cards import check_weights, default_spec, find_card, load_cards, weights_digest
from hcache.cli.main import main
from hcache.errors import ModelError, UnknownModelError, UsageError
from hcache.models.loading import load_anatomy, load_model, load_scheduler
from hcache.noise_schedules import find_schedule
from hcache.specs import POLICIES

CONFIG, SCHEDULER, WEIGHTS = (
    "unet/config.json",
    "scheduler/scheduler_config.json",
    "unet/diffusion_pytorch_model.safetensors",
)


@pytest.fixture
def spoilable(tiny_folder, tmp_path):
    return shutil.copytree(tiny_folder, tmp_path / "model")


def test_every_card_is_whole():
    for name, card in load_cards().items():
        assert card.name == name and card.title and card.summary and card.licence
        anatomy = load_anatomy(name)
        assert card.kind and card.get and default_spec(name).check(anatomy), (
            "every card's run can be planned"
        )
        assert known_anatomy(name) in (anatomy, None)
        assert (
            card.steps > 0
            and card.samples > 0
            and card.store
            and set(card.store.values()) <= set(POLICIES)
        )
        assert find_card(name) is card


def test_a_folder_is_its_own_card(tiny_folder, monkeypatch):
    card = find_card(str(tiny_folder))
    assert (
        card.source == card.name == str(tiny_folder)
        and card.folder == tiny_folder
        and card.title == "tiny"
    )
    monkeypatch.chdir(tiny_folder.parent)
    assert find_card("tiny") == find_card("./tiny/") == card, "the same run, wherever it is started"


def test_a_hub_id_is_taken_at_its_word():
    assert find_card("owner/name").folder is None


@pytest.mark.parametrize(
    "name", ["nothing", "a/b/c", "/a/b", "./a", "~/no-such", "a /b", "a/b\n", ""]
)
def test_what_is_no_model_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownModelError):
        find_card(name)


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path):
    with pytest.raises(UnknownModelError, match="model_index.json"):
        load_model(str(tmp_path))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(ModelError, match="no diffusion model"):
        load_model(str(tmp_path))


def test_a_loaded_model_is_the_saved_one(tiny_folder, tiny_model):
    saved = make_unet()
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(tiny_model.decode(tiny_model.encode(x, 3), 3), saved(x, 3).sample)
    assert not tiny_model.network.training and not any(
        p.requires_grad for p in tiny_model.network.parameters()
    )
    assert tiny_model.anatomy == load_anatomy(str(tiny_folder))


def test_a_bare_unet_needs_its_schedule_stated(tmp_path):
    make_unet().save_pretrained(tmp_path)
    for load in (load_model, load_anatomy, load_scheduler):
        with pytest.raises(ModelError) as caught:
            load(str(tmp_path))
        message = str(caught.value)
        assert "\n" not in message and str(tmp_path) in message
        assert "--scheduler ddpm-linear or ddpm-cosine" in message and "FOLDER_OR_FILE" in message
    model = load_model(str(tmp_path), scheduler="ddpm-linear")
    assert model.anatomy == load_anatomy(str(tmp_path), scheduler="ddpm-linear")
    config = model.scheduler.config
    assert (config.beta_schedule, config.beta_end, config.clip_sample) == ("linear", 0.02, True)
    cosine = load_scheduler(str(tmp_path), "ddpm-cosine")
    assert not torch.equal(cosine.alphas_cumprod, model.scheduler.alphas_cumprod)


def test_a_schedule_may_be_stated_by_a_file_and_is_the_runs(tmp_path, capsys):
    """By content: a run goes on when the file is gone, and another schedule is another run."""
    from hcache.background.extractions import extract_arguments
    from hcache.extraction.run import extract, load_model_of

    bare, other, home = tmp_path / "bare", tmp_path / "other", tmp_path / "home"
    make_unet().save_pretrained(bare)
    save_pipeline(other, make_unet(seed=3), beta_end=0.03)
    more = ["--samples", "2", "--steps", "3", "--home", str(home)]
    for stated in (str(other), str(other / "scheduler"), str(other / SCHEDULER)):
        assert main(["extract", str(bare), "--scheduler", stated, *more]) == 0
    (made,) = (home / "runs").iterdir()
    run = open_run(made)
    assert run.spec.scheduler["beta_end"] == 0.03 and run.provenance["schedule_stated"]
    assert run.provenance["scheduler"]["beta_end"] == 0.03
    (other / SCHEDULER).unlink()
    assert load_model_of(run, "cpu").scheduler.config.beta_end == 0.03
    assert main(["verify", run.name, "--rerun", "1", "--home", str(home)]) == 0
    assert main(["extract", str(bare), "--scheduler=ddpm-linear", *more]) == 0
    assert len(list((home / "runs").iterdir())) == 2
    (named,) = (open_run(p) for p in (home / "runs").iterdir() if p != made)
    assert "--scheduler=ddpm-linear" in extract_arguments(named.spec, home)
    assert f"--scheduler={made}/scheduler_config.json" in extract_arguments(run.spec, home)
    capsys.readouterr()
    assert main(["info", run.name, "--home", str(home)]) == 0
    assert "stated: {" in capsys.readouterr().out
    with pytest.raises(UsageError, match="states the noise schedule"):
        extract(load_model(str(bare), scheduler="ddpm-linear"), run.spec, tmp_path / "third")
    by_hand = {"_class_name": "DDPMScheduler", "beta_end": 0.04}
    assert load_model(str(bare), scheduler=by_hand).scheduler.config.beta_end == 0.04


def test_a_run_of_a_bare_unet_from_before_goes_by_what_it_was_made_by(tmp_path):
    """Then DDPM's schedule was assumed with a warning; the run's provenance has it."""
    from dataclasses import replace

    from hcache.cards import default_spec
    from hcache.extraction.run import extract, load_model_of
    from hcache.measures.stored_levels import configured_levels

    bare = tmp_path / "bare"
    make_unet().save_pretrained(bare)
    spec = default_spec(str(bare), samples=2, steps=3)
    model = load_model(str(bare), scheduler="ddpm-linear")
    run = extract(replace(model, stated={}), spec, tmp_path)
    assert "scheduler" not in run.spec.to_json()
    again = load_model_of(run, "cpu").scheduler
    assert torch.equal(again.alphas_cumprod, model.scheduler.alphas_cumprod)
    assert len(drain(configured_levels(run))[1].result["timesteps"]) == 3
    run.shard_path(run.shards[0]).unlink()
    assert main(["repair", "--yes", run.name, "--home", str(tmp_path)]) == 0


def test_a_schedule_that_contradicts_the_models_own_is_refused(tiny_folder, tmp_path):
    with pytest.raises(ModelError, match="contains its noise schedule.*leave --scheduler out"):
        load_model(str(tiny_folder), scheduler="ddpm-cosine")
    latent = save_kind("LDM", tmp_path / "ldm")
    shutil.rmtree(latent / "scheduler")
    index = json.loads((latent / "model_index.json").read_text())
    del index["scheduler"]
    (latent / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="clips the predicted x_0.*works on latents"):
        load_anatomy(str(latent), scheduler="ddpm-linear")
    assert load_anatomy(str(latent), scheduler="stable-diffusion").h


@pytest.mark.parametrize("text", ["ddpm", "/no/such", "empty", "list.json", "junk.json"])
def test_what_states_no_schedule_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "junk.json").write_bytes(b"\xff{")
    with pytest.raises(UsageError, match="scheduler"):
        find_schedule(text)


def test_the_schedule_is_the_models_own(tmp_path, spoilable):
    folder = save_pipeline(
        tmp_path / "other", make_unet(), num_train_timesteps=50, prediction_type="v_prediction"
    )
    config = load_model(str(folder)).scheduler.config
    assert (config.num_train_timesteps, config.prediction_type) == (50, "v_prediction")
    ddpm = {
        "_class_name": "DDPMScheduler",
        "beta_end": 0.05,
        "clip_sample": False,
        "variance_type": "fixed_large",
    }
    (spoilable / SCHEDULER).write_text(json.dumps(ddpm))
    config = load_model(str(spoilable)).scheduler.config
    assert (config.beta_end, config.clip_sample) == (
        0.05,
        False,
    ), "a DDPM is sampled by DDIM with its own betas"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_model_computes_in_the_dtype_asked_for(tiny_folder, dtype):
    model = load_model(str(tiny_folder), dtype=dtype)
    with torch.no_grad():
        features = model.encode(torch.zeros(1, 3, 16, 16), 3)
        assert features.h.dtype == model.dtype == getattr(torch, dtype)
        assert model.decode(features, 3).dtype == torch.float32, "for the sampler"


def test_options_that_cannot_be_are_refused(tiny_folder):
    with pytest.raises(UsageError, match="dtype.*int8"):
        load_model(str(tiny_folder), dtype="int8")
    with pytest.raises(UsageError, match="nowhere"):
        load_model(str(tiny_folder), device="nowhere")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"_class_name": "Transformer2DModel"}'])
def test_a_unet_that_is_none_is_refused_in_words(spoilable, text):
    (spoilable / CONFIG).write_text(text)
    for load in (load_model, load_anatomy):
        with pytest.raises(ModelError):
            load(str(spoilable))


@pytest.mark.parametrize(
    "change", [{"down_block_types": ["Nothing"] * 3}, {"norm_num_groups": 7}, {"sample_size": None}]
)
def test_a_unet_that_cannot_be_built_is_refused_in_words(spoilable, change):
    config = json.loads((spoilable / CONFIG).read_text())
    (spoilable / CONFIG).write_text(json.dumps({**config, **change}))
    for load in (load_model, load_anatomy):
        with pytest.raises(ModelError):
            load(str(spoilable))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"_class_name": "NoSuchScheduler"}'])
def test_a_schedule_that_is_none_is_refused_in_words(spoilable, text):
    (spoilable / SCHEDULER).write_text(text)
    with pytest.raises(ModelError):
        load_model(str(spoilable))


@pytest.mark.parametrize("harm", ["cut", "gone", "other"])
def test_weights_that_are_not_there_or_do_not_fit_are_refused_in_words(spoilable, harm):
    path = spoilable / WEIGHTS
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:1000])
    elif harm == "gone":
        path.unlink()
    else:
        save_pipeline(spoilable.parent / "wider", make_unet(block_out_channels=(8, 16, 32)))
        shutil.copy(spoilable.parent / "wider" / WEIGHTS, path)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(str(spoilable))
    assert load_anatomy(str(spoilable)).h == (16, 4, 4), "which needs no weights"


def test_a_model_of_grey_pictures_is_refused_or_makes_pictures_as_its_anatomy_says(tmp_path):
    folder = save_pipeline(tmp_path / "grey", make_unet(in_channels=1, out_channels=1))
    try:
        model = load_model(str(folder))
    except ModelError:
        return
    assert tuple(model.to_images(torch.zeros(2, 1, 16, 16)).shape) == (2, *model.anatomy.image)


def test_a_digest_is_of_what_the_model_is(spoilable, tiny_folder):
    whole = weights_digest(tiny_folder)
    assert weights_digest(spoilable) == whole, "wherever it lies"
    (spoilable / "README.md").write_text("no part of the model")
    assert weights_digest(spoilable) == whole
    for name in (CONFIG, SCHEDULER, WEIGHTS):
        kept = (spoilable / name).read_bytes()
        (spoilable / name).write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
        assert weights_digest(spoilable) != whole, name
        (spoilable / name).write_bytes(kept)
    assert weights_digest(spoilable) == whole


def test_other_weights_make_another_run_and_part_the_old_one_from_its_model(spoilable):
    spec = default_spec(str(spoilable), samples=1)
    check_weights(spec)
    save_pipeline(spoilable, make_unet(seed=1))
    assert default_spec(str(spoilable), samples=1).name != spec.name
    with pytest.raises(ModelError, match="changed"):
        check_weights(spec)
    check_weights(dataclasses.replace(spec, weights=""))


def test_a_default_spec_is_the_cards_with_changes():
    card = find_card("google/ddpm-ema-celebahq-256")
    spec = default_spec(card.name, samples=None, steps=7, seed=3)
    assert (spec.model, spec.samples, spec.steps, spec.seed) == (card.name, card.samples, 7, 3)
    assert spec.store == card.store and spec.weights == ""


def test_a_known_anatomy_holds_for_the_configurations_that_it_was_read_from(
    spoilable, monkeypatch, tmp_path
):
    """A card of one's own of the same name, with another model, is read anew; so is what is no
    card.
    """
    own = tmp_path / "cards.yaml"
    own.write_text(
        f"toyfaces-ddpm-64: {{source: {json.dumps(str(spoilable))}, title: t, kind: k, summary: s}}"
    )
    assert known_anatomy("toyfaces-ddpm-64") and known_anatomy(str(spoilable)) is None
    monkeypatch.setenv("HCACHE_CARDS", str(own))
    assert known_anatomy("toyfaces-ddpm-64") is None
