"""Models to measure on: a shipped model, or full-size networks with random weights.

The cost of a network does not depend on its weights. A model can therefore be measured without
them. Its pictures are noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..cards import default_spec, find_card
from ..errors import UsageError
from ..models.anatomy import NETWORKS, anatomy_of
from ..models.codecs import Autoencoder, Codec, Identity
from ..models.condition import Condition
from ..models.conditioners import COND, Conditioner, Guided, Unconditional
from ..models.configurations import AUTOENCODERS
from ..models.folder_schedule import scheduler_of
from ..models.loading import DTYPES, load_model
from ..models.model import Model
from ..models.parts import read_parts
from ..specs import Conditioning, RunSpec

SUBJECTS = {
    "toyfaces": "toyfaces-ddpm-64",
    "celebahq-256": "google/ddpm-ema-celebahq-256",
    "sd-1.5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
}
TOKENS = 77


@dataclass(frozen=True, kw_only=True)
class Amount:
    """The amount that a round extracts of a subject.

    ``of_skips``: the number of samples if all skips are stored.
    """

    samples: int
    of_skips: int
    steps: int
    batch: int


def amount_of(subject: str, device: str) -> Amount:
    """Returns an amount that takes a few seconds.

    A GPU gets batches that keep it busy. All skips of one sample at one step are 72 MB of
    ddpm-celebahq-256 in half precision, 13 MB of SD 1.5 and 1.3 MB of toyfaces.
    """
    if subject != "toyfaces":
        return Amount(samples=8, of_skips=8, steps=5, batch=4)
    if device == "cpu":
        return Amount(samples=16, of_skips=16, steps=10, batch=8)
    return Amount(samples=1024, of_skips=128, steps=10, batch=64)


@dataclass(frozen=True)
class RandomText:
    """A replacement for a text encoder.

    It gives every sample the same random tokens (1, 77, width).
    """

    width: int
    dtype: torch.dtype
    kind = "text"

    def __call__(self, conditioning: Conditioning, n: int, device: torch.device) -> Guided:
        rng = torch.Generator().manual_seed(0)
        text = torch.randn(1, TOKENS, self.width, generator=rng).to(device, self.dtype)
        return Guided(branches={COND: Condition(text=text.expand(n, -1, -1))})


def load_subject(name: str, device: str, dtype: str) -> Model:
    """Loads a subject.

    Raises:
        UsageError: no subject has this name.
    """
    if name not in SUBJECTS:
        raise UsageError(f"a subject is one of {', '.join(SUBJECTS)}; got {name!r}")
    if name == "toyfaces":
        return load_model(SUBJECTS[name], device, dtype)
    return random_model(SUBJECTS[name], device, dtype)


def random_model(name: str, device: str, dtype: str) -> Model:
    """Makes a card's network at full size, with random weights.

    If the model has an autoencoder, it is made, too.
    """
    card = find_card(name)
    folder = card.folder or card.configs
    if folder is None:
        raise UsageError(
            f"the configuration of {card.name} does not ship with hcache; choose another subject"
        )
    parts = read_parts(folder, card.name)
    kind = NETWORKS[parts.config["_class_name"]]
    network = _random(kind, parts.config, device, dtype)
    codec: Codec = Identity()
    if parts.codec is not None:
        config = parts.codec_config
        codec = Autoencoder(_random(AUTOENCODERS[config["_class_name"]], config, device, dtype))
    width = parts.config.get("cross_attention_dim")
    conditioner: Conditioner = RandomText(width, DTYPES[dtype]) if width else Unconditional()
    return Model(
        card=replace(card, reader="", prompt="", classes=(), guidance=1.0),
        network=network,
        scheduler=scheduler_of(parts),
        anatomy=anatomy_of(network, parts.pixels, beside=parts.beside),
        codec=codec,
        conditioner=conditioner,
    )


def subject_spec(
    model: Model, samples: int, steps: int, batch: int, dtype: str, store: dict[str, str]
) -> RunSpec:
    """Returns the spec of a run of a subject."""
    if model.card.name == SUBJECTS["toyfaces"]:
        return default_spec(
            model.card.name, samples=samples, steps=steps, batch=batch, dtype=dtype, store=store
        )
    return RunSpec(
        model=model.card.name, samples=samples, steps=steps, batch=batch, dtype=dtype, store=store
    )


def _random(kind: Any, config: dict, device: str, dtype: str) -> torch.nn.Module:
    torch.manual_seed(0)
    with torch.device(device):
        module = kind.from_config(config)
    return torch.nn.Module.to(module, DTYPES[dtype]).eval().requires_grad_(False)
