"""A model whose truth is exact: its encoder and decoder are matrices, and what they mix is written
down here.

A picture has four coordinates along orthonormal patterns, a to d, and is 0 elsewhere. ``encode``
reads a, b and c of x_t, and 20 other projections, into h along orthonormal axes, and d into
``skip.3.0``. ``decode`` predicts a picture: a as it is, b with half of a in it (entangled), c bent
by tanh (not linear), d from its skip alone.
"""

import numpy as np
import torch
from diffusers import DDIMScheduler
from tiny import make_unet

from hcache.cards import Card
from hcache.features import Features
from hcache.models.anatomy import anatomy_of
from hcache.models.model import Model

NAMES = ("a", "b", "c", "d")
OTHERS, MIXED, BENT = 20, 0.5, 2.0
PLACE = "skip.3.0"


def _axes(count, d, seed):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, count)))[0].T.astype(np.float32)


PATTERNS = _axes(4 + OTHERS, 768, 0)
"""(24, 768): of the four coordinates, then what else is read off x_t."""

IN_H = _axes(3 + OTHERS, 256, 1)
IN_SKIP = _axes(1, 2048, 2)


class LinearModel(Model):
    """Takes the shapes of a tiny U-Net, and none of its numbers."""

    def embed(self, n, t, condition=None):
        return None

    def encode(self, x_t, t, condition=None, embedding=None, taps=None):
        read = x_t.float().flatten(1) @ torch.from_numpy(PATTERNS).T
        h = read[:, [0, 1, 2, *range(4, 4 + OTHERS)]] @ torch.from_numpy(IN_H)
        skips = [
            tuple(torch.zeros(len(x_t), *shape) for shape in group) for group in self.anatomy.skips
        ]
        features = Features(h=h.view(-1, *self.anatomy.h), skips=tuple(skips))
        return features.replace(
            {PLACE: (read[:, 3:4] @ torch.from_numpy(IN_SKIP)).view(features[PLACE].shape)}
        )

    def decode(self, features, t, condition=None, embedding=None, taps=None):
        a, b, c = (features.h.flatten(1) @ torch.from_numpy(IN_H[:3]).T).unbind(1)
        d = (features[PLACE].flatten(1) @ torch.from_numpy(IN_SKIP).T)[:, 0]
        found = torch.stack([a, b + MIXED * a, torch.tanh(BENT * c), d], 1)
        return (found @ torch.from_numpy(PATTERNS[:4])).view(-1, *self.anatomy.x)


def linear_model():
    unet = make_unet()
    scheduler = DDIMScheduler(prediction_type="sample", clip_sample=False)
    return LinearModel(
        card=Card(name="linear", source="linear"),
        network=unet,
        scheduler=scheduler,
        anatomy=anatomy_of(unet),
    )


def read(images):
    """The four coordinates of pictures, to what grey levels leave of them."""
    flat = (images.astype(np.float64) / 127.5 - 1).transpose(0, 3, 1, 2).reshape(len(images), -1)
    return dict(zip(NAMES, (flat @ PATTERNS[:4].T.astype(np.float64)).T, strict=True))


def truth(x_t, alpha_bar, delta, strength):
    """The coordinates (n, 4) of the finished pictures of x_t (n, 768), h moved by ``strength``
    times delta (step, 256) at every step, in P_t alone."""
    return finished(x_t.astype(np.float64) @ PATTERNS[:4].T, alpha_bar, delta, strength)


def finished(x, alpha_bar, delta, strength):
    """The same of the coordinates (n, 4) of x_t: DDIM of matrices, in float64."""
    after = np.r_[alpha_bar[1:], 1.0]

    def predicted(s):
        return np.stack([s[:, 0], s[:, 1] + MIXED * s[:, 0], np.tanh(BENT * s[:, 2]), s[:, 3]], 1)

    for t, (now, then) in enumerate(zip(alpha_bar, after, strict=True)):
        moved = x.copy()
        moved[:, :3] += strength * (delta[t].astype(np.float64) @ IN_H[:3].T)
        noise = (x - np.sqrt(now) * predicted(x)) / np.sqrt(1 - now)
        x = np.sqrt(then) * predicted(moved) + np.sqrt(1 - then) * noise
    return x
