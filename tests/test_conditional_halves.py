"""The halves of ``UNet2DConditionModel``, bit for bit, with everything that may condition it and
at any size.
"""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from kinds import text_unet

from hcache.errors import ModelError
from hcache.models.anatomy import anatomy_of
from hcache.models.condition import Condition
from hcache.models.halves import decode, embed, encode

TEXT_TIME = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 16 + 6 * 4,
}
CASES = {
    "plain": {},
    "classes": {"num_class_embeds": 10},
    "classes by timestep": {"class_embed_type": "timestep"},
    "classes projected": {
        "class_embed_type": "projection",
        "projection_class_embeddings_input_dim": 5,
    },
    "classes beside": {
        "num_class_embeds": 10,
        "class_embeddings_concat": True,
        "class_embed_type": None,
    },
    "added text and sizes": TEXT_TIME,
    "text projected": {"encoder_hid_dim": 12, "encoder_hid_dim_type": "text_proj"},
    "guidance told": {"time_cond_proj_dim": 6},
    "guidance told, odd": {"time_cond_proj_dim": 7, **TEXT_TIME},
    "time embedding activated": {"time_embedding_act_fn": "silu"},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "linear projections": {"use_linear_projection": True, "upcast_attention": True},
    "no mid block": {"mid_block_type": None},
    "simple cross attention": {
        "down_block_types": ("SimpleCrossAttnDownBlock2D", "ResnetDownsampleBlock2D"),
        "up_block_types": ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "resnet_time_scale_shift": "scale_shift",
    },
    "three levels": {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 1),
    },
    "another depth at every place": {  # segmind/SSD-1B
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "transformer_layers_per_block": [1, [2, 1], [1, 2]],
        "reverse_transformer_layers_per_block": [[1, 2, 1], [2, 1, 1], 1],
        **TEXT_TIME,
    },
}
SIZES = [(8, 8), (9, 7), (13, 10)]


def condition_for(unet, n):
    config = unet.config
    text = torch.randn(n, 5, config.encoder_hid_dim or config.cross_attention_dim)
    labels = None
    if config.class_embed_type == "projection":
        labels = torch.randn(n, 5)
    elif unet.class_embedding is not None:
        labels = torch.arange(1, n + 1)
    told = None if config.time_cond_proj_dim is None else torch.linspace(1.5, 8, n)
    if config.addition_embed_type is None:
        return Condition(class_labels=labels, text=text, guidance=told)
    sizes = torch.full((n, 6), 16.0)
    return Condition(
        class_labels=labels, text=text, pooled=torch.randn(n, 16), sizes=sizes, guidance=told
    )


def guidance_embedding(unet, condition):
    """As the pipeline tells its network."""
    if condition.guidance is None:
        return None
    return StableDiffusionPipeline.get_guidance_scale_embedding(
        None, condition.guidance - 1, unet.config.time_cond_proj_dim
    )


def sized_cases():
    """Every case at every size that its blocks can reach; of some that is the model's own alone."""
    return [
        (case, size)
        for case in CASES
        for size in SIZES
        if size == (8, 8) or case != "simple cross attention"
    ]


@pytest.mark.parametrize(("case", "size"), sized_cases(), ids=str)
@torch.no_grad()
def test_the_halves_make_the_whole_bit_for_bit(case, size):
    torch.manual_seed(0)
    unet = text_unet(**CASES[case])
    x, t, condition = torch.randn(2, 4, *size), torch.tensor([7, 900]), condition_for(unet, 2)
    whole = unet(
        x,
        t,
        condition.text,
        class_labels=condition.class_labels,
        added_cond_kwargs=condition.added,
        timestep_cond=guidance_embedding(unet, condition),
    ).sample
    assert torch.isfinite(whole).all() and whole.std() > 1e-4
    assert torch.equal(decode(unet, encode(unet, x, t, condition), t, condition), whole)
    shared = embed(unet, 2, t, condition, x.device)
    assert torch.equal(
        decode(unet, encode(unet, x, t, condition, shared), t, condition, shared), whole
    )


@pytest.mark.parametrize(
    "case", sorted({*CASES} - {"classes projected"})
)  # vectors for labels, which no card has
def test_the_anatomy_is_that_of_the_tensors(case):
    unet = text_unet(**CASES[case])
    found = anatomy_of(unet)
    with torch.no_grad():
        features = encode(unet, torch.randn(1, 4, 8, 8), 5, condition_for(unet, 1))
    assert found.h == tuple(features.h.shape[1:])
    assert found.skips == tuple(
        tuple(tuple(m.shape[1:]) for m in group) for group in features.skips
    )


def test_a_missing_condition_is_refused_in_words():
    x = torch.randn(1, 4, 8, 8)
    with pytest.raises(ModelError, match="give prompts"):
        encode(text_unet(), x, 1)
    with pytest.raises(ModelError, match="class-conditional"):
        encode(text_unet(num_class_embeds=3), x, 1, Condition(text=torch.randn(1, 5, 16)))
    with pytest.raises(ModelError, match="not supported"):
        anatomy_of(text_unet(addition_embed_type="text", addition_embed_type_num_heads=4))
