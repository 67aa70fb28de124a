# %% [markdown]
# # A model of your own
#
# This tutorial goes from a model's folder to a first finding. The commands are those that you would type for
# `google/ddpm-ema-celebahq-256`.
#
# **What is real here.** This notebook was executed without a network, so it does not have Google's weights. It builds
# a tiny model in the same layout: the same files, the same classes and the same six levels, but narrow and with
# *random* weights. Its pictures are noise, so there is nothing to find in it, and the nulls should show this. For the
# real model, replace the folder by `google/ddpm-ema-celebahq-256` and leave out the first cell. For a model of your
# own, use its folder.

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
# ## 1. Is the model supported, and which sites does it have?
#
# `anatomy` reads only the configuration. It refuses the same models as `extract`, before any weights are loaded.

# %%
shell("python -m hcache anatomy tiny-celebahq")

# %% [markdown]
# ## 2. How much disk space does it need?
#
# Skips are large: all skips of one step of the real model take 67 MB per sample. Therefore h is stored in full, and
# the skips as their means over space, or not at all. If a swap needs a site that is not stored, hcache computes it
# again.

# %%
shell(
    "python -m hcache estimate tiny-celebahq --samples 24 --steps 6 --store h=full --store 'skip.*=pooled'"
)

# %% [markdown]
# ## 3. Extract and verify
#
# For the real model on a GPU, use `--samples 256 --steps 50`. `verify --rerun` computes samples again from the stored
# x_t and compares them.

# %%
shell(
    "python -m hcache extract tiny-celebahq --samples 24 --steps 6 --store h=full --store 'skip.*=pooled'"
)
run = next(Path("home/runs").iterdir()).name
shell(f"python -m hcache verify {run} --rerun 1")

# %% [markdown]
# ## 4. A reader
#
# To measure an edit, hcache must read attributes of the edited pictures. For faces you would use a reader that
# compares pictures with texts, by CLIP:
#
# ```
# python -m hcache read RUN --reader texts:openai/clip-vit-base-patch32 --attributes faces
# ```
#
# Noise has no smile, so the reader here is our own function, which measures how red a picture is. In a shell, put the
# module of such a function into the current folder, or set `PYTHONPATH` to its folder.

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
# ## 5. Where can redness be read?
#
# `probe` fits a linear probe at every step of h. *Shuffled* is the score of shuffled labels, and *p, all* is p
# adjusted for all rows. Here no step is better than chance: h of the random network does not contain redness. For a
# trained model you would expect scores that rise with the log SNR, and a small *p, all*.

# %%
shell(f"python -m hcache probe {run} --label redness --site h")

# %% [markdown]
# ## 6. Does a direction change redness?
#
# We fit a direction to the six reddest samples. The strip below compares it with a random direction of the same
# length. The numbers are the readings. A direction that changes them no more than the random one is not a finding.

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
# `measure` answers all questions at once, each with an interval and a null, and stores the results with the run.
# `compare` puts two runs side by side:
#
# ```
# python -m hcache measure RUN
# python -m hcache compare RUN RUN --html report.html
# python -m hcache dashboard
# ```
#
# For the real model you need a GPU and some patience. The Verdict page shows the estimated time before it starts.
# `python -m hcache measure RUN --what swaps --samples 8` is a small first step.
