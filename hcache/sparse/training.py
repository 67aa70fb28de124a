"""Trains a dictionary from the shards of a run, and continues a training that was stopped.

After every chunk of tokens, a checkpoint stores all that the training needs: the weights, the
optimiser's state and the position in the training. The order of the tokens follows from the plan
alone. A training that is stopped and continued therefore gives the same weights, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import normalize

from ..atomic import make_folder, replacing_path
from ..cache.records import state_of
from ..errors import AnalysisError
from .network import first_weights, loss_of
from .tokens import Spread, Tokens, shuffled

BATCH, RATE = 512, 2e-4
"""The number of tokens of a batch, and Adam's rate for 2¹⁴ features. With m features the rate is
√(2¹⁴ / m) times as large.
"""

LAST = 0.2
"""The last share of the training, in which the rate falls to 0."""

DEAD_AFTER = 20
"""A feature is dead if it has not fired for this number of batches."""

VERSION = 1
"""The version of the training. Checkpoints of another version are not used."""


class Trainer:
    """The state of a training between two batches.

    Args:
        tokens: The tokens to train on.
        null: Whether to train on tokens whose channels are shuffled, as the null.
    """

    def __init__(self, tokens: Tokens, null: bool) -> None:
        self.plan, self.null = tokens.plan, null
        features = self.plan.features
        self.weights = first_weights(features, tokens.channels, self.plan.seed)
        for tensor in self.weights.values():
            tensor.requires_grad_()
        self.rate = RATE * (2**14 / features) ** 0.5
        self.optimizer = torch.optim.Adam(list(self.weights.values()), lr=self.rate, eps=6.25e-10)
        self.silent = torch.zeros(features, dtype=torch.int64)
        self.chunk, self.losses = 0, []
        self.origin = json.dumps(
            [VERSION, tokens.plan.to_json(), state_of(tokens.run), null], sort_keys=True
        )

    def batch(self, x: torch.Tensor, share: float) -> float:
        """Takes one step of the optimiser.

        ``share``: the share of the training that is done.

        Returns:
            The share of the squares that is not explained.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * min(1.0, max(0.0, 1 - share) / LAST)
        with torch.inference_mode(False), torch.enable_grad():
            dead = self.silent >= DEAD_AFTER
            loss, unexplained, fired = loss_of(self.weights, x.clone(), self.plan.active, dead)
            slopes = torch.autograd.grad(loss, list(self.weights.values()))
            with torch.no_grad():
                for (name, tensor), slope in zip(self.weights.items(), slopes, strict=True):
                    if name == "decoder":  # rows stay of unit length
                        slope = slope - (slope * tensor).sum(1, keepdim=True) * tensor
                    tensor.grad = slope
                self.optimizer.step()
                self.weights["decoder"].copy_(normalize(self.weights["decoder"], dim=1))
        self.silent = torch.where(fired, 0, self.silent + 1)
        return float(unexplained)

    def save(self, path: Path) -> None:
        """Writes a checkpoint."""
        state = {
            "origin": self.origin,
            "weights": {name: tensor.detach() for name, tensor in self.weights.items()},
            "optimizer": self.optimizer.state_dict(),
            "silent": self.silent,
            "chunk": self.chunk,
            "losses": self.losses,
        }
        make_folder(path.parent, parents=False)
        with replacing_path(path) as partial:
            torch.save(state, partial)

    def load(self, path: Path) -> bool:
        """Continues from a checkpoint of the same training.

        Returns:
            Whether the file is such a checkpoint.
        """
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            if state["origin"] != self.origin:
                return False
            with torch.no_grad():
                for name, tensor in self.weights.items():
                    tensor.copy_(state["weights"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.silent, self.chunk, self.losses = state["silent"], state["chunk"], state["losses"]
        except Exception:  # the training can start without this file, whatever is wrong with it
            return False
        return True


def train(
    tokens: Tokens, spread: Spread, checkpoint: Path, null: bool = False
) -> Generator[float, None, tuple[dict[str, torch.Tensor], list[float]]]:
    """Trains a dictionary, or continues its training.

    Args:
        tokens: The tokens to train on.
        spread: Their mean and σ.
        checkpoint: The checkpoint's file. The training continues from it if it is of this training.
        null: Whether to train on tokens whose channels are shuffled.

    Returns:
        The weights, and the share of the squares that each chunk left unexplained.

    Raises:
        AnalysisError: the loss is no longer finite.
    """
    trainer = Trainer(tokens, null)
    if not trainer.load(checkpoint):
        trainer = Trainer(tokens, null)
    chunks = tokens.chunks()
    while trainer.chunk < len(chunks):
        data = tokens.chunk(chunks[trainer.chunk], trainer.chunk, spread)
        data = shuffled(data, tokens.plan.seed + trainer.chunk) if null else data
        losses = []
        for start in range(0, len(data), BATCH):
            share = (trainer.chunk + start / len(data)) / len(chunks)
            losses.append(trainer.batch(torch.from_numpy(data[start : start + BATCH]), share))
            if not np.isfinite(losses[-1]):
                raise AnalysisError(
                    f"the loss became {losses[-1]}: the numbers of {tokens.plan.site} are too"
                    " large for a dictionary; extract it again"
                )
            yield share
        trainer.chunk += 1
        trainer.losses.append(float(np.mean(losses)) if losses else 1.0)
        trainer.save(checkpoint)
        yield trainer.chunk / len(chunks)
    return {name: each.detach() for name, each in trainer.weights.items()}, trainer.losses
