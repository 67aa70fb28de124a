r"""A small CLIP of the drawn faces, in the format of transformers.

It puts pictures and texts into one space, for everything that needs a CLIP.

    python -m hcache.toyfaces.clip --work DIR [--out FOLDER] [--steps N] [--seed S]

It is trained on drawings and captions that are made from their factors. A caption names some of the
factors of a face. Many captions are therefore true of many faces, and which are true of which is
known. s_ij is the scaled cosine of picture i and text j, and y_ij = 1 if the text is true of the
picture. The loss is the mean of both cross-entropies,

    -\sum_j y_ij/\sum_k y_ik log softmax_j(s_ij)    and
    -\sum_i y_ij/\sum_k y_kj log softmax_i(s_ij),

This is CLIP's own loss if every text is true of only one picture. Pictures are blurred and noisy at
random, like a predicted x_0. The training runs on the CPU and is seeded. It continues from its last
checkpoint in ``--work``.

References:
    Learning Transferable Visual Models From Natural Language Supervision (Radford et al., 2021),
        https://arxiv.org/abs/2103.00020
    Unified Contrastive Learning in Image-Text-Label Space (Yang, Li, Zhang, Xiao, Liu, Yuan, Gao,
        2022), https://arxiv.org/abs/2204.03610, for more than one true text
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, interpolate

from ..directions.asyrp_clip import TEMPLATES, Clip, load_clip
from .drawing import SIZE, draw_dataset
from .factors import FACTORS, NAMES
from .losses import Loss, as_signed, degrade
from .reader import WEIGHTS, to_tensor
from .train import HELD_OUT, Training, render, train

FOLDER = WEIGHTS.parent / "toyfaces-clip"
PLAN = Training(steps=1100, batch=96, learning_rate=1e-3, warmup=50, decay=0.7, ema=0.98)
WIDTH = {"text": 64, "vision": 96, "both": 64}
LONGEST = 64
"""The most tokens of a text. A caption that names all factors has fewer."""

BLURS = (1, 1, 2, 4)
"""The sides of the squares over which pictures are averaged, each for a quarter of a batch."""

PLACES = 8
"""How much more than usual the places of patches weigh at first: as much as what the patches show.
Smile and yaw are told by where things are, and are not learnt as quickly as colours otherwise."""

WORDS = {
    "smile": ("frowning face", "smiling face"),
    "yaw": ("looking left", "looking right"),
    "eye_opening": ("with closed eyes", "with open eyes"),
    "skin": ("with light skin", "with dark skin"),
    "hair_colour": ("with blond hair", "with black hair"),
    "hair_length": ("with short hair", "with long hair"),
    "background": ("on a rose background", "on a violet background"),
    "glasses": ("without glasses", "with glasses"),
}
"""What is said of a face in the lowest third of a factor, and in the highest; nothing is said of
the middle.
"""


def ends(name: str) -> tuple[str, str]:
    """Returns the texts of a factor's low and high end.

    For example: ``face with blond hair``, ``face with black hair``.
    """
    low, high = (caption({name: side}) for side in (-1, 1))
    return low, high


def sides_of(factors: torch.Tensor) -> torch.Tensor:
    """Returns which third of its range each factor lies in.

    Factors are (n, 8). The result is (n, 8) of -1, 0 and 1.
    """
    low = torch.tensor([factor.low for factor in FACTORS])
    share = (factors - low) / (torch.tensor([factor.high for factor in FACTORS]) - low)
    return (share > 2 / 3).long() - (share < 1 / 3).long()


def named_of(sides: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Draws what a caption of each face names, (n, 8).

    A caption names between none and all of the face's sides. The others are 0.
    """
    share = torch.rand(len(sides), 1, generator=rng)
    return sides * (torch.rand(sides.shape, generator=rng) < share)


def caption(named: Mapping[str, int]) -> str:
    """Writes a text that names the ends of some factors.

    A factor is at an end (-1 or 1), or is not named (0).
    """
    words = {name: WORDS[name][(side + 1) // 2] for name, side in named.items() if side}
    face = words.pop("smile", "face")
    return " ".join([face, ", ".join(words.values())]).strip()


def truth(sides: torch.Tensor, named: torch.Tensor) -> torch.Tensor:
    """Returns which captions are true of which faces.

    The result is (n, m) bool, for faces' sides (n, 8) and what captions name (m, 8).
    """
    return ((named[None] == 0) | (named[None] == sides[:, None])).all(-1)


def contrastive_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Computes the contrastive loss of pictures and texts.

    It is the mean of both cross-entropies of the module's formula. Scaled cosines and truths are
    (pictures, texts).
    """
    found = []
    for values, told in ((logits, true.float()), (logits.T, true.T.float())):
        found.append(-(told / told.sum(1, keepdim=True) * values.log_softmax(1)).sum(1).mean())
    return (found[0] + found[1]) / 2


def clip_loss(network: Any, tokenizer: Any) -> Loss:
    """Returns the loss of drawings, each with a made-up caption.

    The caption names some of the drawing's factors.
    """

    def loss(images: torch.Tensor, factors: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        """Computes the loss at random blur and noise, with random captions."""
        sides = sides_of(factors)
        named = named_of(sides, rng)
        forms = torch.randint(len(TEMPLATES), (len(named),), generator=rng).tolist()
        texts = [
            TEMPLATES[form].format(caption(dict(zip(NAMES, row, strict=True))))
            for form, row in zip(forms, named.tolist(), strict=True)
        ]
        tokens = tokenizer(texts, padding=True, return_tensors="pt")
        found = network(pixel_values=blurred(as_signed(images), rng), **tokens)
        return contrastive_loss(found.logits_per_image, truth(sides, named))

    return loss


def blurred(images: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Returns pictures (n, 3, h, w) with blur and noise.

    The blurs of ``BLURS`` are applied in turn, and then a mild one.
    """
    parts = [
        (
            interpolate(avg_pool2d(part, side), scale_factor=side, mode="bilinear")
            if side > 1
            else part
        )
        for part, side in zip(images.chunk(len(BLURS)), BLURS, strict=False)
    ]
    return degrade(torch.cat(parts), rng)


def make_clip(seed: int) -> tuple[Any, Any]:
    """Makes a CLIP with random weights, and its tokenizer.

    The tokenizer's pieces are the words of the captions.
    """
    from transformers import CLIPConfig, CLIPModel

    tokenizer = make_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH["text"],
        "intermediate_size": 4 * WIDTH["text"],
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LONGEST,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": WIDTH["vision"],
        "intermediate_size": 4 * WIDTH["vision"],
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIZE,
        "patch_size": 8,
    }
    torch.manual_seed(seed)
    network = CLIPModel(
        CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH["both"])
    )
    network.vision_model.embeddings.position_embedding.weight.data.mul_(PLACES)
    return network, tokenizer


def make_tokenizer() -> Any:
    """Makes a tokenizer of CLIP's kind, for the words of captions.

    It has a piece for every word of the captions. Other words are split into letters.
    """
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    texts = [form.format(text) for form in TEMPLATES for name in NAMES for text in ends(name)]
    merges = merges_of(dict.fromkeys(word for text in texts for word in re.findall(r"\w+", text)))
    letters = sorted(ByteLevel.alphabet())
    whole = dict.fromkeys(a + b for a, b in merges)
    pieces = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *whole,
        "<|startoftext|>",
        "<|endoftext|>",
    ]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    given: Any = {
        "vocab": vocab,
        "merges": merges,
    }  # pairs, which transformers takes and does not declare
    return CLIPTokenizer(**given, model_max_length=LONGEST)


def merges_of(words: Iterable[str]) -> list[tuple[str, str]]:
    """Returns the merges that make one piece of each word.

    They are pairs of pieces to join, in this order. Later pairs come after all earlier ones, so
    the merges of one word do not break another.
    """
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        for pair in merges:
            pieces = _joined(pieces, pair)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = _joined(pieces, merges[-1])
    return merges


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """Returns the pieces of a word, with each such pair of neighbours joined."""
    found: list[str] = []
    for piece in pieces:
        if found and (found[-1], piece) == pair:
            found[-1] += piece
        else:
            found.append(piece)
    return found


def save_clip(network: Any, tokenizer: Any, folder: Path) -> None:
    """Writes a folder in transformers' format, with float16 weights.

    The model takes colours in [-1, 1].
    """
    network.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    colours = {
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "size": {"shortest_edge": SIZE},
        "crop_size": {"height": SIZE, "width": SIZE},
        "image_processor_type": "CLIPImageProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(colours, indent=1) + "\n")


@torch.no_grad()
def told_apart(
    clip: Clip, images: np.ndarray, values: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict:
    """Measures how often a factor's two texts are distinguished.

    The text that is nearer to the picture is the answer.

    Args:
        clip: A CLIP model.
        images: Pictures (n, height, width, 3) uint8.
        values: Each factor (n,), as drawn or as read. Only values in the lowest or highest third
            count.
        names: The requested factors.

    Returns:
        Factor -> ``share``, the share of correct answers among ``count`` pictures.
    """
    seen = torch.cat([clip.pictures(part) for part in to_tensor(images).split(128)])
    sides = sides_of(torch.from_numpy(np.stack([values[name] for name in NAMES], 1)))
    found = {}
    for name in names:
        side = sides[:, NAMES.index(name)]
        correct = ((seen @ clip.direction(*ends(name))).sign() == side)[side != 0]
        found[name] = {"share": float(correct.float().mean()), "count": len(correct)}
    return found


def held_out(count: int = 2000) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws faces that are never trained on.

    Returns drawings (n, 64, 64, 3) uint8, and each factor (n,).
    """
    images, factors = draw_dataset(range(HELD_OUT, HELD_OUT + count))
    return images, dict(zip(NAMES, factors.T, strict=True))


def main(argv: list[str] | None = None) -> None:
    """Runs the command: trains the model and writes its folder.

    It prints how well the model distinguishes texts on other drawings.
    """
    parser = argparse.ArgumentParser(
        prog="python -m hcache.toyfaces.clip", description=__doc__.split("\n\n")[0]
    )
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder for the checkpoint; training resumes from it",
    )
    parser.add_argument(
        "--out", type=Path, default=FOLDER, help="where the result goes (default: into the package)"
    )
    parser.add_argument("--steps", type=int, default=PLAN.steps)
    parser.add_argument("--batch", type=int, default=PLAN.batch)
    parser.add_argument("--faces", type=int, default=20_000, help="number of drawings to train on")
    parser.add_argument(
        "--unseen", type=int, default=2000, help="number of held-out drawings for the test"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.work.mkdir(parents=True, exist_ok=True)
    network, tokenizer = make_clip(args.seed)
    plan = replace(PLAN, steps=args.steps, batch=args.batch, seed=args.seed)
    weights = train(
        network,
        lambda made: clip_loss(made, tokenizer),
        render(args.faces),
        plan,
        args.work / "clip.pt",
        "cpu",
    )
    network.load_state_dict(weights)
    save_clip(network, tokenizer, args.out)
    clip = load_clip(str(args.out), torch.device("cpu"))
    print(json.dumps(told_apart(clip, *held_out(args.unseen), NAMES), indent=1))


if __name__ == "__main__":
    main()
