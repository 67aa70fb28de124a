"""Published options and training states of guided diffusion, against the original's network
written down once more.
"""

import json

import pytest
import torch
from adm_reference import Reference, random_tensors
from safetensors.torch import save_file

from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.errors import ModelError, UsageError
from hcache.extraction.run import extract
from hcache.models.adm import convert_adm
from hcache.models.adm_flags import PRESETS, Flags
from hcache.models.loading import load_anatomy, load_model
from hcache.models.states import read_state
from hcache.sampling.loop import denoise

T = torch.tensor([3, 700])
X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def saved(folder, tensors, name="some.safetensors"):
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
    return folder / name


def doubled(tensors):
    """Rounding in float32 grows by the sharp attention of random weights; in float64 what is
    left is a fault.
    """
    return {name: tensor.double() for name, tensor in tensors.items()}


@torch.no_grad()
def assert_equal(folder, tensors, y=None, scale=1.0, **options):
    model = load_model(str(folder))
    model.network.double()
    labels = {} if y is None else {"class_labels": y}
    expected = Reference(doubled(tensors), **options)(X.double(), T * scale, y)
    found = model.network(X.double(), T, **labels).sample
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    return model


CASES = {
    "4 heads at every width": (Flags(num_heads=4), {"heads": 4}),
    "4 heads, 2 above": (Flags(num_heads=4, num_heads_upsample=2), {"heads": 4, "heads_up": 2}),
    "4 heads, new order": (
        Flags(num_heads=4, use_new_attention_order=True),
        {"heads": 4, "new_order": True},
    ),
    "one head": (Flags(num_heads=1), {"heads": 1}),
    "channels go before heads": (Flags(num_heads=4, num_head_channels=16), {"head_channels": 16}),
    "channels of -1": (Flags(num_heads=2, num_head_channels=-1), {"heads": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_heads_are_what_the_options_say(case, tmp_path):
    flags, options = CASES[case]
    tensors = random_tensors((32, 64), (True, True))
    convert_adm(saved(tmp_path, tensors), tmp_path / "out", image_size=16, flags=flags)
    assert_equal(tmp_path / "out", tensors, **options)
    assert load_anatomy(str(tmp_path / "out")).h == (64, 8, 8)


def test_a_wrong_number_of_heads_would_be_seen():
    """The test above cannot pass for the heads not mattering."""
    tensors = random_tensors((32, 64), (True, True))
    a, b = (Reference(tensors, heads=heads)(X, T) for heads in (4, 2))
    assert (a - b).norm() > 0.01 * a.norm()


def test_classes_and_a_time_embedding_wider_than_the_first_level(tmp_path):
    """As 512x512_diffusion has it, whose channel_mult begins with 0.5."""
    tensors = random_tensors((32, 64, 64), (False, True, True), classes=7, time=64, resnets=2)
    flags = Flags(
        num_head_channels=32,
        class_cond=True,
        channel_mult="0.5,1,1",
        attention_resolutions="8,4",
        num_channels=64,
        learn_sigma=True,
    )
    convert_adm(saved(tmp_path, tensors), tmp_path / "out", image_size=16, flags=flags)
    assert_equal(tmp_path / "out", tensors, y=torch.tensor([1, 6]), head_channels=32, resnets=2)


@torch.no_grad()
def test_4000_cosine_steps_with_rescaled_time_run_as_the_original(tmp_path):
    """improved-diffusion: the whole deterministic sampling, written down once more."""
    tensors = random_tensors((32, 64), (False, True), updown=False)
    flags = Flags(
        num_heads=4, diffusion_steps=4000, noise_schedule="cosine", rescale_timesteps=True
    )
    convert_adm(saved(tmp_path, tensors), tmp_path / "out", image_size=16, flags=flags)
    model = assert_equal(tmp_path / "out", tensors, scale=0.25, heads=4)
    reference = Reference(doubled(tensors), heads=4)

    def bar(u):
        return (
            torch.cos((torch.as_tensor(u, dtype=torch.float64) + 0.008) / 1.008 * torch.pi / 2) ** 2
        )

    grid = torch.arange(4000, dtype=torch.float64)
    betas = (1 - bar((grid + 1) / 4000) / bar(grid / 4000)).clamp(max=0.999)
    alphas = (1 - betas).cumprod(0).float()
    steps = list(denoise(model, [5], 4))
    x = steps[0].x_t
    times = [3000, 2000, 1000, 0]
    assert [step.t for step in steps] == times
    for t, after in zip(times, [*times[1:], None], strict=True):
        eps = reference(x.double(), torch.tensor([t / 4]))[:, :3].float()
        a, b = alphas[t], alphas[after] if after is not None else torch.tensor(1.0)
        x_0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        x = b.sqrt() * x_0 + (1 - b).sqrt() * eps
    torch.testing.assert_close(steps[-1].x_next, x, atol=1e-4, rtol=1e-4)


def test_only_a_network_that_diffusers_does_not_know_bears_another_name(tmp_path):
    convert_adm(
        saved(tmp_path, random_tensors((32, 64), (True, True))),
        tmp_path / "out",
        16,
        flags=Flags(num_heads=4),
    )
    config = json.loads((tmp_path / "out/unet/config.json").read_text())
    assert config["_class_name"] == "GuidedUNet2DModel" and config["num_heads"] == 4
    convert_adm(
        tmp_path / "some.safetensors", tmp_path / "one", 16, flags=Flags(num_head_channels=32)
    )
    assert (
        json.loads((tmp_path / "one/unet/config.json").read_text())["_class_name"] == "UNet2DModel"
    )


def test_such_a_model_is_extracted_like_any_other(tmp_path):
    convert_adm(
        saved(tmp_path, random_tensors((32, 64), (True, True))),
        tmp_path / "out",
        16,
        flags=Flags(num_heads=4),
    )
    model = load_model(str(tmp_path / "out"))
    run = extract(model, default_spec(str(tmp_path / "out"), samples=2, steps=2), tmp_path / "home")
    assert run.complete and run.anatomy.h == (64, 8, 8)


CONTRADICTIONS = {
    "num_channels": 64,
    "num_res_blocks": 3,
    "class_cond": True,
    "learn_sigma": False,
    "use_scale_shift_norm": False,
    "resblock_updown": False,
    "channel_mult": "1,3",
    "attention_resolutions": "4",
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_options_that_the_tensors_contradict_are_refused(name, tmp_path):
    file = saved(tmp_path, random_tensors((32, 64), (False, True)))
    with pytest.raises(UsageError, match=name.replace("_", "-")):
        convert_adm(
            file, tmp_path / "out", 16, flags=Flags(num_heads=4, **{name: CONTRADICTIONS[name]})
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", [{"num_heads": 5}, {"num_heads_upsample": 3, "num_heads": 4}])
def test_heads_that_do_not_divide_the_channels_are_refused(bad, tmp_path):
    file = saved(tmp_path, random_tensors((32, 64), (False, True)))
    with pytest.raises(UsageError, match="do not divide"):
        convert_adm(file, tmp_path / "out", 16, flags=Flags(**bad))


def test_options_of_no_meaning_are_refused():
    for bad in ({"noise_schedule": "sqrt"}, {"diffusion_steps": 0}, {"num_heads": -2}):
        with pytest.raises(UsageError):
            Flags(**bad)


def test_classifiers_and_upsamplers_are_named(tmp_path):
    tensors = random_tensors((32, 64), (False, True))
    with pytest.raises(ModelError, match="classifier"):
        convert_adm(
            saved(tmp_path, {**tensors, "out.2.positional_embedding": torch.zeros(2)}),
            tmp_path / "out",
        )
    with pytest.raises(ModelError, match="super-resolution"):
        up = {**tensors, "input_blocks.0.0.weight": torch.zeros(32, 6, 3, 3)}
        convert_adm(saved(tmp_path, up), tmp_path / "out")


def test_every_preset_says_all_that_tensors_do_not():
    for name, flags in PRESETS.items():
        assert (flags.num_heads is None) != (flags.num_head_channels is None), name
        for field in (
            "image_size",
            "use_new_attention_order",
            "diffusion_steps",
            "noise_schedule",
            "rescale_timesteps",
            "predict_xstart",
            "class_cond",
        ):
            assert getattr(flags, field) is not None, (name, field)
    assert (
        PRESETS["128x128_diffusion"].num_heads == 4
        and PRESETS["64x64_diffusion"].noise_schedule == "cosine"
    )
    assert (
        PRESETS["64x64_diffusion"].use_new_attention_order
        and PRESETS["cifar10_uncond_50M_500K"].rescale_timesteps
    )


def test_the_command_takes_the_originals_line_and_a_preset(tmp_path, capsys):
    file = saved(tmp_path, random_tensors((32, 64), (False, True), classes=5))
    line = (
        "--attention_resolutions 8 --class_cond True --diffusion_steps 1000 --dropout 0.1"
        " --image_size 16 --learn_sigma True --noise_schedule cosine --num_channels 32"
        " --num_head_channels 32 --num_res_blocks 1 --resblock_updown True"
        " --use_new_attention_order True --use_fp16 True --use_scale_shift_norm True"
    )
    assert main(["convert-adm", str(file), str(tmp_path / "out"), *line.split()]) == 0
    scheduler = json.loads((tmp_path / "out/scheduler/scheduler_config.json").read_text())
    assert scheduler["beta_schedule"] == "squaredcos_cap_v2"
    said = capsys.readouterr().out
    assert "num_head_channels" not in said and "noise_schedule" not in said, (
        "what was given is not said to be assumed"
    )
    tensors = random_tensors((32, 64), (False, True), classes=5)
    assert_equal(
        tmp_path / "out", tensors, y=torch.tensor([0, 4]), head_channels=32, new_order=True
    )
    assert (
        main(["convert-adm", str(file), str(tmp_path / "b"), "--preset", "128x128_difusion"]) == 2
    )
    assert "128x128_diffusion" in capsys.readouterr().err
    assert (
        main(["convert-adm", str(file), str(tmp_path / "b"), "--preset", "128x128_diffusion"]) == 2
    )
    assert "does not fit" in capsys.readouterr().err, "a small network is not that of 128 x 128"


def test_what_is_taken_for_granted_is_said(tmp_path, capsys):
    file = saved(tmp_path, random_tensors((64, 64), (False, True)))
    assert main(["convert-adm", str(file), str(tmp_path / "out"), "--image-size", "16"]) == 0
    said = capsys.readouterr().out
    assert (
        "num_head_channels 64" in said and "noise_schedule linear" in said and "are wrong" in said
    )
    with pytest.raises(UsageError, match="num-channels 256"):
        convert_adm(
            saved(
                tmp_path, random_tensors((32, 64), (False, True)), "128x128_diffusion.safetensors"
            ),
            tmp_path / "b",
        )


def network(seed):
    return random_tensors((32,), (False,), seed=seed)


ANCHOR = "input_blocks.0.0.weight"


def prefixed(tensors, prefix):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def lit_ema(tensors):
    """Latent diffusion's LitEma: buffers whose names have lost their dots."""
    return {
        f"model_ema.diffusion_model{name.replace('.', '')}": tensor
        for name, tensor in tensors.items()
    }


STATES = {
    "model and ema": lambda raw, ema: {"model": raw, "ema": ema, "step": 3},
    "model_ema": lambda raw, ema: {"state_dict": raw, "model_ema": ema},
    "ema_model": lambda raw, ema: {"model": raw, "ema_model": ema, "optimizer": {"state": {}}},
    "prefix ema.": lambda raw, ema: {**prefixed(raw, "model."), **prefixed(ema, "ema.")},
    "prefix ema_model.": lambda raw, ema: {
        **prefixed(raw, "model."),
        **prefixed(ema, "ema_model."),
    },
    "bare and prefixed": lambda raw, ema: {**raw, **prefixed(ema, "ema.")},
    "lucidrains": lambda raw, ema: {
        "step": 3,
        "model": prefixed(raw, "model."),
        "ema": {
            "initted": torch.tensor(True),
            "step": torch.tensor(3),
            **prefixed(raw, "online_model.model."),
            **prefixed(ema, "ema_model.model."),
        },
    },
    "Lightning, LitEma": lambda raw, ema: {
        "state_dict": {
            **prefixed(raw, "model.diffusion_model."),
            **lit_ema(ema),
            "model_ema.decay": torch.tensor(0.9),
            "model_ema.num_updates": torch.tensor(3),
        },
    },
    "parallel": lambda raw, ema: {
        "state_dict": prefixed(raw, "module."),
        "ema": prefixed(ema, "module."),
    },
    "ermongroup's list": lambda raw, ema: [
        prefixed(raw, "module."),
        {"state": {}},
        1,
        2,
        prefixed(ema, "module."),
    ],
    "shadow_params": lambda raw, ema: {
        "model": raw,
        "ema": {"decay": 0.9, "shadow_params": list(ema.values())},
    },
}


@pytest.mark.parametrize("case", STATES)
def test_a_training_state_gives_its_moving_average_and_says_so(case, tmp_path):
    raw, ema = network(0), network(1)
    torch.save(STATES[case](raw, ema), tmp_path / "state.pt")
    for wanted, expected, words in (
        (None, ema, "moving average"),
        ("ema", ema, "moving average"),
        ("raw", raw, "as trained"),
    ):
        found = read_state(tmp_path / "state.pt", ANCHOR, wanted)
        assert found.tensors.keys() == expected.keys(), wanted
        assert all(torch.equal(found.tensors[name], expected[name]) for name in expected), wanted
        assert words in found.told.split(" (also")[0]


def test_the_command_says_which_weights_it_took(tmp_path, capsys):
    torch.save({"model": network(0), "ema": network(1)}, tmp_path / "state.pt")
    for more, words in (
        ([], "took ema: the moving average"),
        (["--weights", "raw"], "took model: the weights as"),
    ):
        out = tmp_path / f"out{len(more)}"
        assert (
            main(
                [
                    "convert-adm",
                    str(tmp_path / "state.pt"),
                    str(out),
                    "--head-channels",
                    "32",
                    *more,
                ]
            )
            == 0
        )
        assert words in capsys.readouterr().out
    assert (
        main(["convert-adm", str(tmp_path / "state.pt"), str(tmp_path / "c"), "--weights", "swa"])
        == 2
    )
    assert "it holds model (the weights as trained) and ema" in capsys.readouterr().err


def test_states_that_leave_a_choice_or_none_are_refused(tmp_path):
    raw, ema = network(0), network(1)
    torch.save({"model": raw, "ema_0.99": ema, "ema_0.9999": ema}, tmp_path / "two.pt")
    with pytest.raises(ModelError, match="several moving averages.*ema_0.99"):
        read_state(tmp_path / "two.pt", ANCHOR)
    assert read_state(tmp_path / "two.pt", ANCHOR, "ema_0.99").told
    torch.save({"model": raw, "ema": {"shadow_params": [torch.zeros(2)]}}, tmp_path / "list.pt")
    with pytest.raises(ModelError, match="without names.*--weights raw"):
        read_state(tmp_path / "list.pt", ANCHOR)
    assert read_state(tmp_path / "list.pt", ANCHOR, "raw").told
    torch.save({"model": raw}, tmp_path / "raw.pt")
    with pytest.raises(UsageError, match="no 'ema' weights"):
        read_state(tmp_path / "raw.pt", ANCHOR, "ema")
    assert "as trained" in read_state(tmp_path / "raw.pt", ANCHOR).told
