"""Compares reading pictures by texts with a plain loop of transformers.

The encoder has the shape of CLIP ViT-B/32 and random weights, because the cost does not depend on
them. Its text tower is small, because texts are embedded only once.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from ..cache.files import write_json
from ..cache.layout import RUN_JSON, SCHEMA
from ..cache.reading import Run, open_run
from ..cache.shards import ShardWriter
from ..specs import Anatomy, RunSpec
from .setting import BenchRow, BenchSetting
from .timing import Ratio, interleaved

SIDE = 256
BATCH = 64
B_32 = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
}
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
TINY_VISION = TINY | {"num_attention_heads": 2, "image_size": 32, "patch_size": 16}
WORDS = ("<unk>", "a", "photo", "of", "happy", "sad", "face")


def labelling(setting: BenchSetting) -> Generator[float, None, list[BenchRow]]:
    """Compares labelling by a reader with the plain encoder's loop.

    A round reads a batch of 64 pictures of 256 x 256; 16 rounds are 1,024 pictures.
    """
    import torch

    from ..progress import drive, part
    from ..readers.encoder import load_encoder
    from ..readers.reading import read_run
    from ..readers.saved import save_reader
    from ..readers.texts import Texts

    clip = _random_clip(setting.work / "clip", TINY_VISION if setting.quick else B_32)
    run = _planted_pictures(setting.work, setting.size(BATCH, 4), setting.size(SIDE, 32))
    texts = Texts(
        model=str(clip), attributes={"happy": ("happy face", "sad face")}, templates=("{}",)
    )
    save_reader(run.home, "clip", texts)
    encoder = load_encoder(str(clip), "", "cpu", True)
    yield 0.2
    pictures, network, processor = run.images, encoder.network, encoder.processor

    def ours() -> None:
        drive(read_run(open_run(run.folder), "clip", "cpu", replace=True))

    @torch.inference_mode()
    def theirs() -> None:
        for start in range(0, len(pictures), BATCH):
            taken = processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")
            network.get_image_features(**taken)

    rounds = setting.size(max(1, round(3.2 * setting.rounds)), 1)
    timed = yield from part(interleaved({"hcache": ours, "loop": theirs}, rounds), 0.2, 0.8)
    return [
        BenchRow(
            name="reader",
            what="a run read by texts, with all that is stored",
            against="transformers' own loop over the same batches",
            aim=1.2,
            ratio=Ratio.of(timed, "hcache", "loop"),
            note=(
                f"{len(pictures)} pictures of {pictures.shape[1]} x {pictures.shape[2]} a round;"
                " CLIP ViT-B/32's shape, random weights; theirs are in memory"
            ),
        )
    ]


def _planted_pictures(home: Path, samples: int, side: int) -> Run:
    """Writes a run of noisy pictures only, in one shard."""
    spec = RunSpec(model="pictures", samples=samples, steps=1, batch=samples)
    folder = home / "runs" / spec.name
    folder.mkdir(parents=True)
    anatomy = Anatomy(x=(3, side, side), image=(side, side, 3), h=(1, 1, 1))
    about: dict[str, Any] = {"schema": SCHEMA, "name": spec.name, "spec": spec.to_json()}
    about |= {"anatomy": anatomy.to_json(), "timesteps": [0], "provenance": {}}
    write_json(folder / RUN_JSON, about)
    rng = np.random.default_rng(0)
    seeds = spec.seed + np.arange(samples)
    with ShardWriter(folder, 0, seeds, np.arange(1), spec.store_dtype) as writer:
        writer.write_activation(0, "h", np.zeros((samples, 1, 1, 1), np.float32))
        writer.write_images(rng.integers(0, 256, (samples, side, side, 3), np.uint8))
        writer.commit()
    return open_run(folder)


def _random_clip(folder: Path, vision: dict[str, int]) -> Path:
    """Makes a CLIP of transformers, with random weights and a tokenizer of a few words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

    text = TINY | {"num_attention_heads": 2, "vocab_size": len(WORDS) + 2}
    ends = {"eos_token_id": len(WORDS), "pad_token_id": len(WORDS), "bos_token_id": len(WORDS) + 1}
    config = CLIPConfig(text_config=text | ends, vision_config=vision, projection_dim=512)
    CLIPModel(config).eval().save_pretrained(folder)
    side = {"height": vision["image_size"], "width": vision["image_size"]}
    about = {"image_processor_type": "CLIPImageProcessor", "size": side, "crop_size": side}
    (folder / "preprocessor_config.json").write_text(json.dumps(about))
    words = {word: i for i, word in enumerate((*WORDS, "</s>", "<s>"))}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", pad_token="</s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return folder
