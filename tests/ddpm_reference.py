"""The original DDPM network in PyTorch (ermongroup's names) written down once more, and Asyrp's
sampling of it.
"""

import math

import torch
from torch.nn import functional as F


def random_tensors(widths, attention, *, resnets=1, channels=3, seed=0):
    """Random weights by the original's names."""
    rng, t = torch.Generator().manual_seed(seed), {}
    d = 4 * widths[0]

    def layer(name, *shape):
        t[f"{name}.weight"] = torch.randn(shape, generator=rng) / math.sqrt(math.prod(shape[1:]))
        t[f"{name}.bias"] = torch.randn(shape[0], generator=rng) * 0.1

    def norm(name, c):
        t[f"{name}.weight"] = 1 + torch.randn(c, generator=rng) * 0.1
        t[f"{name}.bias"] = torch.randn(c, generator=rng) * 0.1

    def res(name, i, o):
        norm(f"{name}.norm1", i)
        layer(f"{name}.conv1", o, i, 3, 3)
        layer(f"{name}.temb_proj", o, d)
        norm(f"{name}.norm2", o)
        layer(f"{name}.conv2", o, o, 3, 3)
        if i != o:
            layer(f"{name}.nin_shortcut", o, i, 1, 1)

    def attend(name, c):
        norm(f"{name}.norm", c)
        for part in ("q", "k", "v", "proj_out"):
            layer(f"{name}.{part}", c, c, 1, 1)

    layer("temb.dense.0", d, widths[0])
    layer("temb.dense.1", d, d)
    layer("conv_in", widths[0], channels, 3, 3)
    levels, c, skips = len(widths), widths[0], [widths[0]]
    for i in range(levels):
        for j in range(resnets):
            res(f"down.{i}.block.{j}", c, widths[i])
            c = widths[i]
            if attention[i]:
                attend(f"down.{i}.attn.{j}", c)
            skips.append(c)
        if i < levels - 1:
            layer(f"down.{i}.downsample.conv", c, c, 3, 3)
            skips.append(c)
    res("mid.block_1", c, c)
    attend("mid.attn_1", c)
    res("mid.block_2", c, c)
    for i in reversed(range(levels)):
        for j in range(resnets + 1):
            res(f"up.{i}.block.{j}", c + skips.pop(), widths[i])
            c = widths[i]
            if attention[i]:
                attend(f"up.{i}.attn.{j}", c)
        if i:
            layer(f"up.{i}.upsample.conv", c, c, 3, 3)
    norm("norm_out", c)
    layer("conv_out", channels, c, 3, 3)
    return t


class Reference:
    """Computes what the original ``Model`` of these tensors does; ``edit`` makes another h of
    (h, temb).
    """

    def __init__(self, tensors):
        self.t = tensors
        self.levels = 1 + max(
            int(name.split(".")[1]) for name in tensors if name.startswith("down.")
        )
        self.resnets = 1 + max(
            int(name.split(".")[3]) for name in tensors if name.startswith("down.0.block.")
        )

    def embed(self, steps):
        half = self.t["temb.dense.0.weight"].shape[1] // 2
        frequencies = torch.exp(
            torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1))
        )
        angles = steps.float()[:, None] * frequencies
        emb = torch.cat([angles.sin(), angles.cos()], 1).to(self.t["temb.dense.0.weight"].dtype)
        return self.linear("temb.dense.1", F.silu(self.linear("temb.dense.0", emb)))

    def __call__(self, x, steps, edit=None):
        emb = self.embed(steps)
        skips = [self.conv("conv_in", x, padding=1)]
        for i in range(self.levels):
            for j in range(self.resnets):
                h = self.res(f"down.{i}.block.{j}", skips[-1], emb)
                skips.append(self.attend(f"down.{i}.attn.{j}", h))
            if i < self.levels - 1:
                skips.append(
                    self.conv(f"down.{i}.downsample.conv", F.pad(skips[-1], (0, 1, 0, 1)), stride=2)
                )
        h = self.res("mid.block_1", skips[-1], emb)
        h = self.res("mid.block_2", self.attend("mid.attn_1", h), emb)
        h = h if edit is None else edit(h, emb)
        for i in reversed(range(self.levels)):
            for j in range(self.resnets + 1):
                h = self.res(f"up.{i}.block.{j}", torch.cat([h, skips.pop()], 1), emb)
                h = self.attend(f"up.{i}.attn.{j}", h)
            if i:
                h = self.conv(
                    f"up.{i}.upsample.conv",
                    F.interpolate(h, scale_factor=2.0, mode="nearest"),
                    padding=1,
                )
        return self.conv("conv_out", F.silu(self.norm("norm_out", h)), padding=1)

    def res(self, name, x, emb):
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x)), padding=1)
        h = h + self.linear(f"{name}.temb_proj", F.silu(emb))[:, :, None, None]
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h)), padding=1)
        return h + (
            self.conv(f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in self.t else x
        )

    def attend(self, name, x):
        if f"{name}.q.weight" not in self.t:
            return x
        y = self.norm(f"{name}.norm", x)
        q, k, v = (self.conv(f"{name}.{part}", y).flatten(2) for part in "qkv")
        weight = torch.bmm(q.transpose(1, 2), k).mul(q.shape[1] ** -0.5).softmax(2)
        h = torch.bmm(v, weight.transpose(1, 2)).reshape(x.shape)
        return x + self.conv(f"{name}.proj_out", h)

    def both(self, name):
        return self.t[f"{name}.weight"], self.t[f"{name}.bias"]

    def norm(self, name, x):
        return F.group_norm(x, 32, *self.both(name), eps=1e-6)

    def linear(self, name, x):
        return F.linear(x, *self.both(name))

    def conv(self, name, x, padding=0, stride=1):
        return F.conv2d(x, *self.both(name), padding=padding, stride=stride)


def asymmetric(reference, x, timesteps, t_edit, delta, scale):
    """Asyrp's sampling: the edited noise enters the predicted x_0, the unedited one the direction
    to x_t.

    Args:
        x: The noise (n, c, h, w).
        timesteps: From the noisiest on.
        t_edit: Steps with t at or above it are edited.
        delta: (h, temb) -> Δh.
        scale: What Δh is multiplied by.
    """
    alphas = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).to(x.dtype)
    for t, after in zip(timesteps, [*timesteps[1:], None], strict=True):
        steps = torch.full((len(x),), t)
        eps = edited = reference(x, steps)
        if t >= t_edit:
            edited = reference(x, steps, lambda h, temb: h + scale * delta(h, temb))
        a, b = alphas[t], alphas[after] if after is not None else torch.ones((), dtype=x.dtype)
        x_0 = (x - edited * (1 - a).sqrt()) / a.sqrt()
        x = b.sqrt() * x_0 + (1 - b).sqrt() * eps
    return x
