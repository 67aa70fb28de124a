"""Trains a dictionary from the shards of a run, and goes on where it was stopped.

After every chunk of tokens all that the training needs is written into a checkpoint: weights, the
optimiser's state, and how far it is. The order of the tokens follows from the plan alone. So a
training that was stopped and goes on comes to the same weights, bit for bit.
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
"""Tokens of a batch; Adam's rate for 2¹⁴ features, which grows with the root of fewer."""

LAST = 0.2
"""Share of the training in which the rate falls to 0."""

DEAD_AFTER = 20
"""A feature is dead that did not fire for so many batches."""

VERSION = 1
"""Of the training: a checkpoint of another one is not gone on from."""


class Trainer:
    """The state of a training between two batches.

    Args:
        tokens: What is trained on.
        null: Trains on tokens whose channels are shuffled, as the null.
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

        ``share``: of the whole training that is done.

        Returns:
            The share of the squares that was not explained.
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
        """Goes on from a checkpoint of this very training.

        Returns:
            Whether the file is one.
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
        except Exception:  # whatever is wrong with a file that a training may do without
            return False
        return True


def train(
    tokens: Tokens, spread: Spread, checkpoint: Path, null: bool = False
) -> Generator[float, None, tuple[dict[str, torch.Tensor], list[float]]]:
    """Trains a dictionary, or goes on with one.

    Args:
        tokens: What is trained on.
        spread: Their mean and σ.
        checkpoint: The file that the training goes on from, where it is one of this training.
        null: Trains on tokens whose channels are shuffled.

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
