# %% [markdown]
# # First run
#
# You load a small diffusion model of drawn faces that ships with hcache, extract the activations of 16 samples, and
# ask three questions: what varies in h, can a label be read from it, and does moving h change the picture?
#
# Everything here also works on the pages of the dashboard (`python -m hcache dashboard`). The notebook shows what they
# do.

# %%
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image

from hcache import figures, load_model
from hcache.analysis.decoding import decode
from hcache.analysis.pca import principal_components
from hcache.cards import default_spec
from hcache.extraction.run import extract

# %% [markdown]
# ## The model and its sites
#
# A *site* is a place in the U-Net where activations can be read and replaced: the bottleneck `h`, and one skip group
# for each block of the decoder. `skip.1` is next to h, `skip.4` next to the picture.

# %%
model = load_model("toyfaces-ddpm-64")
print(model.anatomy.sites)
print("h has the shape", model.anatomy.h)

# %% [markdown]
# ## Extract a run
#
# A run is one extraction: a model, seeds, steps, and the sites to store. 16 samples of 8 steps take a few seconds. The
# default of this model is 64 samples of 20 steps. If you stop an extraction, the same call continues it.

# %%
home = Path(mkdtemp())
spec = default_spec("toyfaces-ddpm-64", samples=16, steps=8)
run = extract(model, spec, home)
print(run.name)
print(len(run), "samples,", run.spec.steps, "steps,", round(run.bytes / 1e6, 1), "MB")

# %%
pictures = run.images  # (16, 64, 64, 3) uint8
Image.fromarray(pictures.reshape(2, 8, 64, 64, 3).swapaxes(1, 2).reshape(128, 512, 3))

# %% [markdown]
# An attribute reader ships with the toy models. It has read eight factors of every picture. These readings are the
# labels.

# %%
labels = run.labels["toyfaces"]
print(", ".join(labels))
print("yaw of the first eight samples:", np.round(labels["yaw"][:8], 2))

# %% [markdown]
# ## What varies in h?
#
# `matrix` returns h of all samples at one step. The baseline is the variance that components of *shuffled* data
# explain. A component below the baseline is no better than chance.

# %%
step = 4
h = run.matrix("h", step=step)  # (16, 8192)
pca = principal_components(h, k=4)
for number in range(4):
    print(
        f"component {number + 1}: {pca.explained[number]:.1%} of variance, shuffled {pca.baseline[number]:.1%}"
    )

# %%
figures.scatter(pca, values=labels["yaw"], name="yaw", caption="")

# %% [markdown]
# ## Can a label be read from h?
#
# A linear probe is fitted to some samples and tested on the others. `control` is the score of shuffled labels, that
# is, the score by chance. We also probe the noisy picture x_t: if a label can already be read there, reading it from h
# says little about h.

# %%
x = np.stack([run.x(sample, step).ravel() for sample in run.sample_ids])
for name, data in (("h", h), ("x_t", x)):
    found = decode(data, labels["yaw"])
    score = found.score
    print(
        f"yaw from {name}: R² {score.value:.2f} ({score.low:.2f} to {score.high:.2f}),"
        f" shuffled labels {found.control:.2f}, p {found.p:.2f}"
    )

# %% [markdown]
# With only 16 samples the intervals are wide, and an R² may even be below 0, which is worse than predicting the mean.
# With 1,072 samples of this model, the probe of h reaches 0.98 ([Results](../results/latent-diffusion.md)). Always
# read the interval and the null before the number.
#
# ## Does moving h change the picture?
#
# The naive direction is the mean h of the four samples with the highest yaw, minus the mean of all samples. Strength 1
# moves h by one standard deviation (root mean square). The second row is the null: a random direction of the same
# length.

# %%
strip = figures.strip(
    run, "yaw", ways=["naive", "random"], strengths=(-2, -1, 0, 1, 2), top=4, width="single"
)
strip

# %%
print(strip.caption)

# %% [markdown]
# The numbers below the pictures are the reader's values. One sample and one random direction are not a test. `measure`
# does the same with many samples and 19 random directions:
#
# ```
# python -m hcache extract toyfaces-ddpm-64 --samples 64
# python -m hcache measure RUN --label yaw
# ```
#
# The Verdict page shows the result. Next: [a model of your own](own-model.ipynb).
