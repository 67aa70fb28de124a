"""Published attribute blocks of random weights, models wide enough for them, and the published
formula.
"""

import numpy as np
import torch
from kinds import ADM as ADM_UNET
from tiny import make_unet, save_pipeline
from torch.nn import functional as F

from hcache.cards import default_spec
from hcache.directions.asyrp_block import LAYERS, PLAIN
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.recipes.window import Window
from hcache.sampling.loop import Moment

STEPS, SAMPLES, C, D = 4, 6, 32, 32
WIDE = {"block_out_channels": (8, 16, C)}
WINDOW = Window(first=0, last=STEPS - 1)


def extracted(folder, home, samples=SAMPLES, **spec):
    spec = {"store": {"h": "full"}, "store_dtype": "float32", **spec}
    model = load_model(str(folder))
    return model, extract(
        model, default_spec(str(folder), samples=samples, steps=STEPS, **spec), home
    )


def save_plain(home):
    """A run of a model of the kind that the plain blocks are for: (model, run)."""
    return extracted(save_pipeline(home / "plain", make_unet(**WIDE)), home / "home")


def save_adm(home):
    """Likewise of guided diffusion's kind."""
    return extracted(save_pipeline(home / "adm", make_unet(**{**ADM_UNET, **WIDE})), home / "home")


def random_state(kind, c=C, d=D, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=rng) for name, shape in LAYERS[kind].shapes(c, d).items()
    }


def published(folder, kind, name="smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth", **changes):
    """A file as the published code leaves it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    state = random_state(kind, **changes)
    torch.save(
        {"0": state, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()},
        folder / name,
    )
    return folder / name


def time_embedding(unet, t):
    """The U-Net's own, as its ``forward`` makes it."""
    return unet.time_embedding(unet.time_proj(torch.tensor([t])))


def formula(kind, w, h, temb):
    """f as the published classes compute it, written down once more."""
    if kind == PLAIN:
        x = F.conv2d(h, w["conv1.weight"], w["conv1.bias"])
        x = x + F.linear(F.silu(temb), w["temb_proj.weight"], w["temb_proj.bias"])[:, :, None, None]
        x = F.silu(F.group_norm(x, 32, w["norm2.weight"], w["norm2.bias"], eps=1e-6))
        return F.conv2d(x, w["conv2.weight"], w["conv2.bias"])
    x = F.silu(F.group_norm(h, 32, w["in_layers.0.weight"], w["in_layers.0.bias"], eps=1e-5))
    x = F.conv2d(x, w["in_layers.2.weight"], w["in_layers.2.bias"])
    x = (
        x
        + F.linear(F.silu(temb), w["emb_layers.1.weight"], w["emb_layers.1.bias"])[:, :, None, None]
    )
    x = F.silu(F.group_norm(x, 32, w["out_layers.0.weight"], w["out_layers.0.bias"], eps=1e-5))
    return F.conv2d(x, w["out_layers.3.weight"], w["out_layers.3.bias"])


def moved(move, model, run, step, strengths, samples=(0, 1, 2)):
    """(h of some samples at a step, what the move makes of it)."""
    h = torch.from_numpy(np.stack([run.features(sample, step).h for sample in samples]))
    with torch.inference_mode():
        return h, move.bind(model)(
            h, Moment(index=step, t=run.timesteps[step]), torch.tensor(strengths)
        )
