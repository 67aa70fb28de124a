"""A U-Net cut in two and put together again is that U-Net, bit for bit, whatever it is built of."""

import pytest
import torch
from tiny import THREE_LEVELS, TWO_LEVELS, make_unet

from hcache.errors import ModelError
from hcache.models.anatomy import anatomy_of, anatomy_of_config
from hcache.models.condition import Condition
from hcache.models.halves import decode, embed, encode

PAIRS = {
    "DownBlock2D": "UpBlock2D",
    "AttnDownBlock2D": "AttnUpBlock2D",
    "ResnetDownsampleBlock2D": "ResnetUpsampleBlock2D",
    "SkipDownBlock2D": "SkipUpBlock2D",
    "AttnSkipDownBlock2D": "AttnSkipUpBlock2D",
}


def levels(*downs, **changes):
    """Levels of these down blocks with their matching up blocks. Skip blocks insist on 32
    channels.
    """
    channels = (
        (32,) * len(downs) if any("Skip" in down for down in downs) else (8, 16, 16)[: len(downs)]
    )
    ups = tuple(PAIRS[down] for down in reversed(downs))
    return {
        "down_block_types": downs,
        "up_block_types": ups,
        "block_out_channels": channels,
        **changes,
    }


CASES = {
    **{down: levels(down, down) for down in PAIRS},
    **{f"{down} alone": levels(down) for down in PAIRS},
    **{f"{down} outside": levels(down, "DownBlock2D") for down in PAIRS},
    **{f"{down} inside": levels("DownBlock2D", down) for down in PAIRS if "Skip" not in down},
    "all kinds of skip": levels("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
    "resnet down and up": levels(
        "AttnDownBlock2D", "AttnDownBlock2D", downsample_type="resnet", upsample_type="resnet"
    ),
    "scale shift": {"resnet_time_scale_shift": "scale_shift"},
    "classes": {"num_class_embeds": 5},
    "class timestep": {"class_embed_type": "timestep"},
    "class identity": {"class_embed_type": "identity"},
    "fourier time": {"time_embedding_type": "fourier"},
    "fourier time, skips": levels(
        "SkipDownBlock2D", "AttnSkipDownBlock2D", time_embedding_type="fourier"
    ),
    "learned time": {"time_embedding_type": "learned", "num_train_timesteps": 1000},
    "wide time": {"time_embedding_dim": 20},
    "centred input": {"center_input_sample": True},
    "centred input, skips": levels("SkipDownBlock2D", "SkipDownBlock2D", center_input_sample=True),
    "no mid attention": {"add_attention": False},
    "no mid block": {"mid_block_type": None},
    "mid block scaled": {"mid_block_scale_factor": 1.4},
    "two layers": {"layers_per_block": 2},
    "three layers": {"layers_per_block": 3},
    "not square": {"sample_size": (16, 32)},
    "four channels": {"in_channels": 4, "out_channels": 4},
    "variance learned": {"out_channels": 6},
    "one head": {"attention_head_dim": None},
    "as in DDPM": {
        "downsample_padding": 0,
        "flip_sin_to_cos": False,
        "freq_shift": 1,
        "norm_eps": 1e-6,
    },
}


def build(case):
    return make_unet(base=TWO_LEVELS, **CASES[case])


def inputs(unet, n=2):
    torch.manual_seed(1)
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    x = torch.randn(n, unet.config.in_channels, height, width)
    if unet.config.class_embed_type == "identity":
        return x, torch.randn(n, 4 * unet.config.block_out_channels[0])
    return x, torch.arange(1, n + 1) if unet.class_embedding is not None else None


def of(labels):
    return Condition(class_labels=labels)


def both_ways(unet, x, t, labels):
    """(The network's output, that of its halves.)"""
    with torch.no_grad():
        whole = unet(x, t, class_labels=labels).sample
        halves = decode(unet, encode(unet, x, t, of(labels)), t, of(labels))
        shared = embed(unet, len(x), t, of(labels), x.device)
        kept = shared.time.clone()
        once = decode(unet, encode(unet, x, t, of(labels), shared), t, of(labels), shared)
    assert torch.equal(once, halves) and torch.equal(shared.time, kept)
    assert torch.isfinite(whole).all() and whole.std() > 1e-4, "the test would pass on a constant"
    return whole, halves


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "t", [500, torch.tensor(7), torch.tensor([3, 990])], ids=["number", "tensor", "per sample"]
)
def test_the_halves_make_the_whole_bit_for_bit(case, t):
    unet = build(case)
    x, labels = inputs(unet)
    assert torch.equal(*both_ways(unet, x, t, labels))


def test_the_halves_make_the_whole_at_noise_levels_that_are_not_whole_numbers():
    unet = build("fourier time, skips")
    x, labels = inputs(unet)
    assert torch.equal(*both_ways(unet, x, torch.tensor([0.31, 41.7]), labels))


def test_the_halves_make_the_whole_for_any_other_size_than_the_models_own():
    unet = build("DownBlock2D")
    assert torch.equal(*both_ways(unet, torch.randn(1, 3, 24, 40), 100, None))


@pytest.mark.parametrize("case", CASES)
def test_neither_half_changes_what_it_is_given(case):
    unet = build(case)
    x, labels = inputs(unet)
    kept = x.clone()
    with torch.no_grad():
        features = encode(unet, x, 10, of(labels))
        before = {name: tensor.clone() for name, tensor in features.items()}
        first = decode(unet, features, 10, of(labels))
        second = decode(unet, features, 10, of(labels))
    assert torch.equal(x, kept) and torch.equal(first, second)
    assert all(torch.equal(tensor, before[name]) for name, tensor in features.items())


@pytest.mark.parametrize("case", CASES)
def test_every_feature_is_what_the_unet_itself_hands_to_that_resnet(case):
    """skip.g.i is what the i-th resnet of up block g-1 finds concatenated; h what the first up
    block is given.
    """
    unet = build(case)
    x, labels = inputs(unet)
    taken, entered, hooks = {}, [], []
    for g, block in enumerate(unet.up_blocks, 1):
        for i, resnet in enumerate(block.resnets):
            hook = resnet.register_forward_pre_hook(
                lambda _, args, at=f"skip.{g}.{i}": taken.update({at: args[0]})
            )
            hooks.append(hook)
    first = unet.up_blocks[0]
    hooks.append(first.register_forward_pre_hook(lambda _, args: entered.append(args[0])))
    with torch.no_grad():
        unet(x, 10, class_labels=labels)
        for hook in hooks:
            hook.remove()
        features = encode(unet, x, 10, of(labels))
    assert torch.equal(features["h"], entered[0])
    members = [(name, tensor) for name, tensor in features.items() if name != "h"]
    assert [name for name, _ in members] == list(taken)
    for name, tensor in members:
        assert torch.equal(tensor, taken[name][:, -tensor.shape[1] :]), name


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_groups_are_numbered_from_the_bottleneck_and_members_in_order_of_consumption(layers):
    unet = make_unet(layers_per_block=layers)
    made = []
    unet.conv_in.register_forward_hook(lambda _, args, out: made.append(out))
    for block in unet.down_blocks:
        block.register_forward_hook(lambda _, args, out: made.extend(out[1]))
    with torch.no_grad():
        features = encode(unet, torch.randn(1, 3, 16, 16), 10)
    assert [len(group) for group in features.skips] == [layers + 1] * 3
    flat = [tensor for name, tensor in features.items() if name != "h"]
    assert len(flat) == len(made)
    assert all(a is b for a, b in zip(flat, reversed(made), strict=True)), (
        "the last skip made is skip.1.0"
    )
    assert features[f"skip.3.{layers}"] is made[0]


def test_every_feature_matters_to_the_prediction():
    unet = make_unet()
    with torch.no_grad():
        features = encode(unet, torch.randn(1, 3, 16, 16), 10)
        whole = decode(unet, features, 10)
        for name, tensor in features.items():
            assert not torch.equal(whole, decode(unet, features.replace({name: tensor + 1}), 10)), (
                name
            )


@pytest.mark.parametrize("case", CASES)
def test_the_anatomy_read_off_the_configuration_is_that_of_real_features(case):
    unet = build(case)
    x, labels = inputs(unet)
    anatomy = anatomy_of_config(unet.config)
    with torch.no_grad():
        features = encode(unet, x, 10, of(labels))
    assert anatomy.x == tuple(x.shape[1:])
    assert {name: anatomy.shape(name) for name, _ in features.items()} == {
        name: tuple(tensor.shape[1:]) for name, tensor in features.items()
    }
    assert [m for site in anatomy.sites for m in anatomy.members(site)] == [
        name for name, _ in features.items()
    ]
    assert anatomy.parameters == sum(p.numel() for p in unet.parameters())
    assert anatomy == anatomy_of(unet)


def test_an_anatomy_needs_no_memory_for_weights():
    huge = {**THREE_LEVELS, "block_out_channels": (4096, 4096, 4096), "norm_num_groups": 32}
    assert anatomy_of_config(huge).parameters > 1e9


def test_class_labels_are_given_exactly_where_they_are_needed():
    x = torch.randn(2, 3, 16, 16)
    with pytest.raises(ModelError, match="class-conditional"):
        encode(build("classes"), x, 10)
    with pytest.raises(ModelError, match="no class embedding"):
        encode(build("DownBlock2D"), x, 10, of(torch.zeros(2, dtype=torch.long)))


def test_a_configuration_without_a_size_is_refused_in_words():
    with pytest.raises(ModelError, match="sample_size"):
        anatomy_of(make_unet(sample_size=None))


def test_a_unet_whose_decoder_leaves_skips_unused_is_refused_in_words():
    """K blocks are the only others that run in a UNet2DModel, and they are no U-Net that can be
    cut.
    """
    kinds = {"down_block_types": ("KDownBlock2D",) * 2, "up_block_types": ("KUpBlock2D",) * 2}
    unet = make_unet(base=TWO_LEVELS, **kinds, block_out_channels=(32, 32), norm_num_groups=32)
    with pytest.raises(ModelError, match="3 skips and the decoder takes 2"):
        encode(unet, torch.randn(1, 3, 16, 16), 10)
