"""Tiny vision models with random weights, in the folder format of transformers: CLIP, SigLIP,
DINOv2, a classifier.
"""

import json

import torch

NAMES = ("cat", "dog", "face")
WORDS = (
    "<pad> <unk> a an happy sad face old photo of cropped close up - dog with its mouth open closed"
    " calm"
).split()
VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 64,
    "max_position_embeddings": 16,
}


def save_clip(folder, seed=0):
    from transformers import CLIPConfig, CLIPModel

    tokens = {"bos_token_id": 60, "eos_token_id": 61, "pad_token_id": 61}
    config = CLIPConfig(text_config=TEXT | tokens, vision_config=VISION, projection_dim=12)
    return save_encoder(folder, CLIPModel, config, "CLIPImageProcessor", seed, eos=61)


def save_siglip(folder, seed=1):
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig(
        text_config=TEXT | {"pad_token_id": 0, "projection_size": 16}, vision_config=VISION
    )
    return save_encoder(folder, SiglipModel, config, "SiglipImageProcessor", seed, eos=61)


def save_dinov2(folder, seed=2):
    from transformers import Dinov2Config, Dinov2Model

    return save_encoder(folder, Dinov2Model, Dinov2Config(**VISION), "BitImageProcessor", seed)


def save_classifier(folder, names=NAMES, seed=3, image_size=VISION["image_size"]):
    from transformers import ViTConfig, ViTForImageClassification

    labels = {
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }
    config = ViTConfig(**VISION | {"image_size": image_size}, **labels)
    return save_encoder(folder, ViTForImageClassification, config, "ViTImageProcessor", seed)


def save_encoder(folder, kind, config, processor, seed, eos=None):
    torch.manual_seed(seed)
    network = kind(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    network.save_pretrained(folder)
    vision = getattr(config, "vision_config", config)
    side = {"height": vision.image_size, "width": vision.image_size}
    half = [0.5, 0.5, 0.5]
    written = {
        "image_processor_type": processor,
        "size": side,
        "crop_size": side,
        "image_mean": half,
        "image_std": half,
        "do_center_crop": False,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(written))
    if eos is not None:
        _save_tokenizer(folder, eos)
    return folder


def _save_tokenizer(folder, eos):
    """Words between marks of the beginning and the end, without capitals."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(WORDS)} | {"<s>": eos - 1, "</s>": eos}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", eos - 1), ("</s>", eos)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=16,
    )
    fast.save_pretrained(folder)
