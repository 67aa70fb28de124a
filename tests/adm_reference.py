"""guided-diffusion's U-Net written down once more, as plain functions over its tensors, for
tests to compare with.
"""

import math

import torch
from torch.nn import functional as F

GROUPS = 32


def random_tensors(
    widths, attention, *, resnets=1, updown=True, classes=None, out=6, time=None, seed=0
):
    """Random weights by the original's names. ``time``: channels in which time is embedded
    (default: widths[0]).
    """
    base = time or widths[0]
    made = _Weights(seed, 4 * base)
    made.layer("time_embed.0", 4 * base, base)
    made.layer("time_embed.2", 4 * base, 4 * base)
    made.layer("input_blocks.0.0", widths[0], 3, 3, 3)
    if classes:
        made.t["label_emb.weight"] = torch.randn(classes, 4 * base, generator=made.rng)
    skips = made.encoder(widths, attention, resnets, updown)
    c = skips[-1]
    made.res("middle_block.0", c, c)
    made.attend("middle_block.1", c)
    made.res("middle_block.2", c, c)
    made.decoder(widths, attention, resnets, updown, skips)
    made.norm("out.0", widths[0])
    made.layer("out.2", out, widths[0], 3, 3)
    return made.t


class _Weights:
    """Random weights, layer by layer; ``d``: channels that blocks are told the time in."""

    def __init__(self, seed, d):
        self.rng, self.d, self.t = torch.Generator().manual_seed(seed), d, {}

    def layer(self, name, *shape):
        """A layer of weights and biases."""
        weight = torch.randn(shape, generator=self.rng) / math.sqrt(math.prod(shape[1:]))
        self.t[f"{name}.weight"] = weight
        self.t[f"{name}.bias"] = torch.randn(shape[0], generator=self.rng) * 0.1

    def norm(self, name, c):
        """A norm of c channels."""
        self.t[f"{name}.weight"] = 1 + torch.randn(c, generator=self.rng) * 0.1
        self.t[f"{name}.bias"] = torch.randn(c, generator=self.rng) * 0.1

    def res(self, name, i, o):
        """A residual block of i to o channels."""
        self.norm(f"{name}.in_layers.0", i)
        self.layer(f"{name}.in_layers.2", o, i, 3, 3)
        self.layer(f"{name}.emb_layers.1", 2 * o, self.d)
        self.norm(f"{name}.out_layers.0", o)
        self.layer(f"{name}.out_layers.3", o, o, 3, 3)
        if i != o:
            self.layer(f"{name}.skip_connection", o, i, 1, 1)

    def attend(self, name, c):
        """Attention over c channels."""
        self.norm(f"{name}.norm", c)
        self.layer(f"{name}.qkv", 3 * c, c, 1)
        self.t[f"{name}.qkv.weight"] *= 3  # so that who attends to whom matters
        self.layer(f"{name}.proj_out", c, c, 1)

    def encoder(self, widths, attention, resnets, updown):
        """The way down; the channels of the skips."""
        skips, c, k = [widths[0]], widths[0], 1
        for level, width in enumerate(widths):
            for _ in range(resnets):
                self.res(f"input_blocks.{k}.0", c, width)
                c = width
                if attention[level]:
                    self.attend(f"input_blocks.{k}.1", c)
                skips.append(c)
                k += 1
            if level < len(widths) - 1:
                if updown:
                    self.res(f"input_blocks.{k}.0", c, c)
                else:
                    self.layer(f"input_blocks.{k}.0.op", c, c, 3, 3)
                skips.append(c)
                k += 1
        return skips

    def decoder(self, widths, attention, resnets, updown, skips):
        """The way up, which takes the skips."""
        c, skips, k = skips[-1], list(skips), 0
        for level in reversed(range(len(widths))):
            for r in range(resnets + 1):
                self.res(f"output_blocks.{k}.0", c + skips.pop(), widths[level])
                c = widths[level]
                if attention[level]:
                    self.attend(f"output_blocks.{k}.1", c)
                if level and r == resnets:
                    name = f"output_blocks.{k}.{1 + attention[level]}"
                    if updown:
                        self.res(name, c, c)
                    else:
                        self.layer(f"{name}.conv", c, c, 3, 3)
                k += 1


class Reference:
    """Computes what guided-diffusion's ``UNetModel`` of these tensors and options does."""

    def __init__(
        self, tensors, *, heads=None, heads_up=None, head_channels=None, new_order=False, resnets=1
    ):
        self.t, self.heads, self.heads_up = tensors, heads, heads_up or heads
        self.head_channels, self.new_order, self.resnets = head_channels, new_order, resnets

    def __call__(self, x, steps, y=None):
        """x (n, c, h, w) at ``steps`` (n,), as the network is told them -> its output."""
        base = self.t["time_embed.0.weight"].shape[1]
        angles = steps[:, None].float() * torch.exp(
            -math.log(10000) * torch.arange(base // 2) / (base // 2)
        )
        emb = self.linear("time_embed.0", torch.cat([angles.cos(), angles.sin()], 1).to(x.dtype))
        emb = self.linear("time_embed.2", F.silu(emb))
        if y is not None:
            emb = emb + self.t["label_emb.weight"][y]
        h, skips = x, []
        for k in range(self.count("input_blocks")):
            down = k > 0 and k % (self.resnets + 1) == 0
            h = self.block(f"input_blocks.{k}", h, emb, "down" if down else "", False)
            skips.append(h)
        h = self.block("middle_block", h, emb, "", False)
        for k in range(self.count("output_blocks")):
            h = self.block(f"output_blocks.{k}", torch.cat([h, skips.pop()], 1), emb, "", True)
        return self.conv("out.2", F.silu(self.norm("out.0", h)), padding=1)

    def count(self, kind):
        return 1 + max(int(name.split(".")[1]) for name in self.t if name.startswith(f"{kind}."))

    def block(self, name, h, emb, resample, decoder):
        for i in range(3):
            part = f"{name}.{i}"
            if f"{part}.in_layers.0.weight" in self.t:
                up = decoder and i > 0
                h = self.res(part, h, emb, "up" if up else resample)
            elif f"{part}.qkv.weight" in self.t:
                h = self.attend(part, h, self.heads_up if decoder else self.heads)
            elif f"{part}.op.weight" in self.t:
                h = F.conv2d(
                    h, self.t[f"{part}.op.weight"], self.t[f"{part}.op.bias"], stride=2, padding=1
                )
            elif f"{part}.conv.weight" in self.t:
                h = self.conv(
                    f"{part}.conv", F.interpolate(h, scale_factor=2, mode="nearest"), padding=1
                )
            elif f"{part}.weight" in self.t:
                h = self.conv(part, h, padding=1)
        return h

    def res(self, name, x, emb, resample):
        sample = {
            "": lambda z: z,
            "down": lambda z: F.avg_pool2d(z, 2),
            "up": lambda z: F.interpolate(z, scale_factor=2, mode="nearest"),
        }[resample]
        h = self.conv(
            f"{name}.in_layers.2", sample(F.silu(self.norm(f"{name}.in_layers.0", x))), padding=1
        )
        scale, shift = self.linear(f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None].chunk(
            2, 1
        )
        h = F.silu(self.norm(f"{name}.out_layers.0", h) * (1 + scale) + shift)
        h = self.conv(f"{name}.out_layers.3", h, padding=1)
        x = sample(x)
        return h + (
            self.conv(f"{name}.skip_connection", x)
            if f"{name}.skip_connection.weight" in self.t
            else x
        )

    def attend(self, name, x, heads):
        n, c, rows, columns = x.shape
        heads = c // self.head_channels if self.head_channels else heads
        ch = c // heads
        qkv = F.conv1d(self.norm(f"{name}.norm", x).flatten(2), *self.both(f"{name}.qkv"))
        if self.new_order:
            q, k, v = (part.reshape(n * heads, ch, -1) for part in qkv.chunk(3, 1))
        else:
            q, k, v = qkv.reshape(n * heads, 3 * ch, -1).split(ch, 1)
        weight = torch.einsum("bct,bcs->bts", q, k).div(math.sqrt(ch)).softmax(-1)
        h = torch.einsum("bts,bcs->bct", weight, v).reshape(n, c, -1)
        return x + F.conv1d(h, *self.both(f"{name}.proj_out")).reshape(n, c, rows, columns)

    def both(self, name):
        return self.t[f"{name}.weight"], self.t[f"{name}.bias"]

    def norm(self, name, x):
        return F.group_norm(x, GROUPS, *self.both(name), eps=1e-5)

    def linear(self, name, x):
        return F.linear(x, *self.both(name))

    def conv(self, name, x, padding=0):
        return F.conv2d(x, *self.both(name), padding=padding)
