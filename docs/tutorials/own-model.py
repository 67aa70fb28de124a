# %% [markdown]
# # A model of your own
#
# From a model's folder to a first finding, by the commands that you would type for `google/ddpm-ema-celebahq-256`.
#
# **What is real here.** This notebook was executed without a network, so it does not have Google's weights. It builds a
# tiny model in the same layout: the same files, the same classes, the same six levels, but narrow and with *random*
# weights. Its pictures are noise, and so nothing can be found in it. That is what the nulls should tell us. For the
# real model, put `google/ddpm-ema-celebahq-256` in place of the folder, and leave the first cell out.

# %%
import json
import os
import shlex
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import mkdtemp

import torch
from diffusers import DDPMScheduler, UNet2DModel

from hcache.cli.main import main

work = Path(mkdtemp())
os.chdir(work)  # paths below are relative
os.environ["HCACHE_HOME"] = str(work / "home")
Path("home").mkdir()

published = files("hcache") / "configs" / "google--ddpm-ema-celebahq-256"
config = json.loads((published / "config.json").read_text())
config |= {
    "block_out_channels": [8, 8, 16, 16, 16, 16],
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "sample_size": 64,
}
torch.manual_seed(0)
UNet2DModel.from_config(config).save_pretrained("tiny-celebahq")
DDPMScheduler.from_config(
    json.loads((published / "scheduler_config.json").read_text())
).save_pretrained("tiny-celebahq")
print(sorted(path.name for path in Path("tiny-celebahq").iterdir()))


def shell(line):
    """Runs a line as a shell would."""
    print("$", line)
    assert main(shlex.split(line)[3:]) == 0


# %% [markdown]
# ## 1. Is it taken, and which sites has it?
#
# `anatomy` reads the configuration alone. It refuses what `extract` would refuse, before any weights are loaded.

# %%
shell("python -m hcache anatomy tiny-celebahq")

# %% [markdown]
# ## 2. What would it take?
#
# Skips are large: all skips of one step of the real model are 67 MB a sample. So h is stored in full and the skips
# as their means over space, or not at all. A site that is not stored is computed again when a swap needs it.

# %%
shell(
    "python -m hcache estimate tiny-celebahq --samples 24 --steps 6 --store h=full --store 'skip.*=pooled'"
)

# %% [markdown]
# ## 3. Extract, and check
#
# For the real model on a GPU: `--samples 256 --steps 50`. `verify --rerun` computes samples again from the stored
# x_t.

# %%
shell(
    "python -m hcache extract tiny-celebahq --samples 24 --steps 6 --store h=full --store 'skip.*=pooled'"
)
run = next(Path("home/runs").iterdir()).name
shell(f"python -m hcache verify {run} --rerun 1")

# %% [markdown]
# ## 4. A reader
#
# hcache must read attributes of pictures, also of edited ones. Of faces you would read texts with CLIP:
#
# ```
# python -m hcache read RUN --reader texts:openai/clip-vit-base-patch32 --attributes faces
# ```
#
# Noise has no smile, so here the reader is a function of our own: how red a picture is.

# %%
Path("redness.py").write_text('''
def read(pictures):
    """From pictures (n, height, width, 3) uint8 to a value for each."""
    colours = pictures.mean((1, 2))
    return {"redness": colours[:, 0] - colours[:, 1:].mean(1)}
''')
sys.path.insert(0, str(work))
shell(f"python -m hcache read {run} --reader function:redness:read --name redness")

# %% [markdown]
# ## 5. Where can it be read?
#
# A linear probe at every step of h. *Shuffled* is the score of shuffled labels, *p, all* the p among all rows. Here no
# step is better than chance: the random network's h says nothing about redness. Of a trained model you would expect
# scores that rise with the log SNR, and a small *p, all*.

# %%
shell(f"python -m hcache probe {run} --label redness --site h")

# %% [markdown]
# ## 6. Does a direction move it?
#
# A direction from the six reddest samples, and below it a random direction of the same length. The numbers are the
# readings. A direction that does no more than the random one is no finding.

# %%
shell(f"python -m hcache direction fit {run} --method naive --label redness --top 6 --name red")
shell(f"python -m hcache direction show {run} red")

# %%
from hcache import figures, open_run

figures.strip(
    open_run(run), "redness", ways=["saved:red", "random"], strengths=(-2, 0, 2), width="single"
)

# %% [markdown]
# ## 7. The verdict
#
# `measure` puts all questions at once, each with an interval and a null, and stores the results beside the run:
#
# ```
# python -m hcache measure RUN
# python -m hcache compare RUN RUN --html report.html
# python -m hcache dashboard
# ```
#
# On the real model this takes a GPU and some patience. `python -m hcache estimate` and the Verdict page print the time
# before they start.
