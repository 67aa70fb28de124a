"""A tiny pipeline of every kind of model, saved in the real folder format, its weights random."""

import inspect

import diffusers
import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    DDIMPipeline,
    DDIMScheduler,
    DDPMPipeline,
    DDPMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LDMPipeline,
    PNDMScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from tiny import make_unet
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

TOKENS = 16
LATENT = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
}
SD = {**LATENT, "set_alpha_to_one": False, "steps_offset": 1}


def packed(latents):
    """Latents (n, c, h, w) as FLUX takes them: a token (4 c) for every 2 x 2 places."""
    n, channels, height, width = latents.shape
    cut = latents.reshape(n, channels, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(n, height * width // 4, 4 * channels)


def grown(module, by=1.5):
    """With weights large enough for every input to matter to the output."""
    for parameter in module.parameters():
        parameter.requires_grad_(False).mul_(by)
    return module.eval()


def clip_tokenizer():
    letters = sorted(ByteLevel.alphabet())
    pieces = [
        *letters,
        *(letter + "</w>" for letter in letters),
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    return CLIPTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=TOKENS
    )


def clip_text(kind=CLIPTextModel, width=16):
    config = CLIPTextConfig(
        vocab_size=520,
        hidden_size=width,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=512,
        eos_token_id=513,
        pad_token_id=513,
    )
    return grown(kind(config))


def kl(latent=4, **changes):
    return grown(
        AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=["DownEncoderBlock2D"] * 2,
            layers_per_block=1,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=latent,
            norm_num_groups=4,
            sample_size=16,
            **changes,
        )
    )


def text_unet(**changes):
    config = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": (8, 16),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": 16,
    }
    return grown(UNet2DConditionModel(**{**config, **changes}))


BESIDE = {
    "StableDiffusionInpaintPipeline": 9,
    "StableDiffusionXLInpaintPipeline": 9,
    "StableDiffusionInstructPix2PixPipeline": 8,
    "StableDiffusionXLInstructPix2PixPipeline": 8,
}
"""Pipelines whose U-Net takes more channels than x_t has -> how many."""


def save_beside(name, folder):
    """A tiny folder of such a pipeline, in its own layout."""
    torch.manual_seed(0)
    xl = "XL" in name
    plain = sdxl() if xl else _stable_diffusion(DDIMScheduler(**SD))
    channels = {"in_channels": BESIDE[name], "out_channels": 4}
    sizes = {**SDXL_SIZES, "cross_attention_dim": 32} if xl else {}
    unet, own = text_unet(**sizes, **channels), getattr(diffusers, name)
    taken = inspect.signature(own.__init__).parameters
    parts = {part: module for part, module in plain.components.items() if part in taken}
    only = {"requires_safety_checker": False, "add_watermarker": False}
    given = {name: value for name, value in only.items() if name in taken}
    own(**{**parts, **given, "unet": unet}).save_pretrained(folder)
    return folder


def _stable_diffusion(scheduler):
    return StableDiffusionPipeline(
        vae=kl(),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        unet=text_unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


SDXL_SIZES = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "use_linear_projection": True,
    "projection_class_embeddings_input_dim": 16 + 6 * 4,
}


def sdxl():
    unet = text_unet(cross_attention_dim=32, **SDXL_SIZES)
    scheduler = EulerDiscreteScheduler.from_config({**SD, "timestep_spacing": "leading"})
    return StableDiffusionXLPipeline(
        vae=kl(),
        text_encoder=clip_text(),
        text_encoder_2=clip_text(CLIPTextModelWithProjection),
        unet=unet,
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        scheduler=scheduler,
        add_watermarker=False,
    )


def _ldm():
    vq = grown(
        VQModel(
            block_out_channels=(8, 8),
            down_block_types=["DownEncoderBlock2D"] * 2,
            layers_per_block=1,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=3,
            num_vq_embeddings=32,
            norm_num_groups=4,
            sample_size=32,
        )
    )
    return LDMPipeline(vqvae=vq, unet=make_unet(), scheduler=DDIMScheduler(**LATENT))


def _dit():
    transformer = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        out_channels=8,
        num_layers=3,
        sample_size=8,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return DiTPipeline(grown(transformer), kl(), DDIMScheduler(clip_sample=False))


def _flux():
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=16,
        guidance_embeds=True,
        axes_dims_rope=(4, 6, 6),
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=kl(shift_factor=0.1),
        text_encoder=clip_text(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=grown(transformer),
    )


def _t5():
    t5 = T5Config(vocab_size=32, d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return grown(T5EncoderModel(t5))


def _t5_tokenizer():
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -1.0),
        *((chr(c), -2.0) for c in range(97, 123)),
    ]
    return T5TokenizerFast(vocab=pieces, model_max_length=TOKENS, extra_ids=0)


def _sd3():
    transformer = SD3Transformer2DModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=32,
        caption_projection_dim=16,
        pooled_projection_dim=32,
        pos_embed_max_size=12,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        transformer=grown(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=kl(shift_factor=0.1),
        text_encoder=clip_text(CLIPTextModelWithProjection),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip_text(CLIPTextModelWithProjection),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=_t5(),
        tokenizer_3=_t5_tokenizer(),
    )


def _dc():
    return AutoencoderDC(
        latent_channels=4,
        attention_head_dim=4,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )


def _gemma_tokenizer():
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁"]
    letters = [chr(c) for c in range(33, 127)]
    return GemmaTokenizer(vocab={piece: i for i, piece in enumerate([*special, *letters])})


def _sana():
    transformer = SanaTransformer2DModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        num_layers=3,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=16,
    )
    gemma = Gemma2Config(
        vocab_size=128,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
    )
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    return SanaPipeline(
        tokenizer=_gemma_tokenizer(),
        text_encoder=grown(Gemma2Model(gemma)),
        vae=grown(_dc()),
        transformer=grown(transformer),
        scheduler=DPMSolverMultistepScheduler(**flow),
    )


ADM = {
    "out_channels": 6,
    "downsample_type": "resnet",
    "upsample_type": "resnet",
    "resnet_time_scale_shift": "scale_shift",
    "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("ResnetUpsampleBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
    "attn_norm_num_groups": 4,
}

KINDS = {
    "DDPM": lambda: DDPMPipeline(make_unet(), DDPMScheduler()),
    "DDIM": lambda: DDIMPipeline(make_unet(), DDIMScheduler()),
    "learned variance": lambda: DDIMPipeline(make_unet(**ADM), DDIMScheduler()),
    "sample prediction": lambda: DDIMPipeline(make_unet(), DDIMScheduler(prediction_type="sample")),
    "classes": lambda: DDIMPipeline(make_unet(num_class_embeds=10), DDIMScheduler()),
    "LDM": _ldm,
    "SD": lambda: _stable_diffusion(PNDMScheduler.from_config({**SD, "skip_prk_steps": True})),
    "SD, v": lambda: _stable_diffusion(DDIMScheduler(**SD, prediction_type="v_prediction")),
    "SDXL": sdxl,
    "DiT": _dit,
    "FLUX": _flux,
    "SD3": _sd3,
    "Sana": _sana,
}
TRANSFORMERS = ("DiT", "FLUX", "SD3", "Sana")


def save_kind(kind, folder):
    torch.manual_seed(0)
    KINDS[kind]().save_pretrained(folder)
    return folder
