"""The reasons why pipelines of diffusers are refused, each or by family."""

from __future__ import annotations

import re

_IMAGE = "it is conditioned on the embedding of a picture, which a prior or an image encoder makes"
_BESIDE = "its network is given a picture beside x_t, and no run of hcache holds one"
_DISTILLED = "it was distilled to a few steps, each of which predicts x_0 and adds fresh noise"
_IF = "DeepFloyd IF is sampled with DDPM's learned variance and dynamic thresholding, not with DDIM"
_SECOND = "a second network (ControlNet, adapter) steers the first"
_GUIDED = "it changes the prediction of every step in a way of its own"

REFUSED_PIPELINES = {
    "ConsistencyModelPipeline": "a consistency model maps noise to a picture in one step",
    "IFPipeline": _IF,
    "IFImg2ImgPipeline": _IF,
    "IFSuperResolutionPipeline": _BESIDE,
    "KandinskyPipeline": _IMAGE,
    "KandinskyV22Pipeline": _IMAGE,
    "KandinskyV22Img2ImgPipeline": _IMAGE,
    "KandinskyV22InpaintPipeline": _IMAGE,
    "KarrasVePipeline": "its variance explodes (a score-based model)",
    "KolorsPipeline": "its text comes from ChatGLM, which no pipeline that is taken has",
    "LDMSuperResolutionPipeline": _BESIDE,
    "LDMTextToImagePipeline": "its text comes from a BERT of its own (LDMBert)",
    "LatentConsistencyModelImg2ImgPipeline": "it changes a picture that it is given",
    "MarigoldDepthPipeline": "its sample is the depth of a picture that it is given",
    "MarigoldIntrinsicsPipeline": "its sample is a property of a picture that it is given",
    "MarigoldNormalsPipeline": "its sample are the normals of a picture that it is given",
    "PaintByExamplePipeline": _IMAGE,
    "RePaintPipeline": "it fills in a picture that it is given",
    "SanaSprintPipeline": _DISTILLED,
    "ScoreSdeVePipeline": "its variance explodes (a score-based model)",
    "StableDiffusionControlNetPipeline": _SECOND,
    "StableDiffusionDepth2ImgPipeline": _BESIDE,
    "StableDiffusionGLIGENPipeline": "its network attends to boxes with words beside the prompt",
    "StableDiffusionImageVariationPipeline": _IMAGE,
    "StableDiffusionLatentUpscalePipeline": _BESIDE,
    "StableDiffusionUpscalePipeline": _BESIDE,
    "StableDiffusionXLControlNetPipeline": _SECOND,
    "StableUnCLIPPipeline": _IMAGE,
    "StableUnCLIPImg2ImgPipeline": _IMAGE,
    "UnCLIPPipeline": _IMAGE,
    "VQDiffusionPipeline": "it unmasks discrete tokens and adds no noise",
    "WuerstchenDecoderPipeline": "its network is none of diffusers' U-Nets",
}
"""Common pipelines -> why they are refused."""

FAMILIES = (
    (r"Modular", "its loop is put together from blocks of code when it is loaded"),
    (r"Onnx", "its networks are ONNX files, of which no half can be run alone"),
    (r"ControlNet|Adapter|Control", _SECOND),
    (
        r"Video|Animat|^Wan|^LTX|CogVideo|SkyReels|Mochi|Allegro|Latte|Cosmos(?!2TextToImage)|EasyAnimate|^AnyFlow"
        r"|ConsisID|Helios|I2V|T2V|TI2V|^PIA|Framepack|LucyEdit|SanaWM|ChronoEdit",
        "it makes videos",
    ),
    (r"Audio|Music|Spectrogram|DanceDiffusion|AceStep", "it makes sound"),
    (r"ShapE|LDM3D", "it makes objects in three dimensions, or depth"),
    (r"Proteina|LLaDA|DiffusionGemma", "it makes no pictures"),
    (r"Amused", "it unmasks discrete tokens and adds no noise"),
    (r"Prior", "it makes embeddings, and another pipeline makes pictures of them"),
    (r"^Kandinsky(?![356])|UnCLIP|Combined|BlipDiffusion|^StableCascade|^Wuerstchen", _IMAGE),
    (r"^IF", _IF),
    (r"Upscale|SuperResolution", _BESIDE),
    (
        r"Img2Img|Image2Image|ImageToImage|Inpaint|Fill|Edit|Kontext|Variation|VisualCloze|Layered"
        r"|Refiner|CycleDiffusion|Pix2Pix",
        "it changes a picture that it is given",
    ),
    (r"GLIGEN", "its network attends to boxes with words beside the prompt"),
    (r"PAG|SAG|AttendAndExcite|Panorama|Semantic|Paradigms|ModelEditing", _GUIDED),
    (r"^UniDiffuser|^Versatile|^AltDiffusion", "its text comes from encoders of its own"),
    (r"^StableDiffusion|^Onnx", _GUIDED),
)
"""Patterns of names -> why pipelines with such names are refused. The first match counts."""

OTHER = "its network is none whose halves or blocks hcache reads"


def why_refused(named: str) -> str:
    """Returns why a pipeline is refused, by its name."""
    for pattern, why in FAMILIES:
        if named not in REFUSED_PIPELINES and re.search(pattern, named):
            return why
    return REFUSED_PIPELINES.get(named, OTHER)
