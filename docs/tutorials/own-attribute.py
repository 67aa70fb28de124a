# %% [markdown]
# # An attribute of your own
#
# You have a run and an attribute that no reader knows. You label some samples with a table or by clicks, and fit a
# direction to the positives. Then you test whether it changes the attribute more than directions fitted to random
# positives. The attribute here is *long hair*, for the drawn faces of the model that ships with hcache.

# %%
import os
import shlex
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from hcache import load_model, open_run
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.extraction.run import extract

work = Path(mkdtemp())
os.chdir(work)
os.environ["HCACHE_HOME"] = str(work / "home")
(work / "home" / "runs").mkdir(parents=True)


def shell(line):
    """Runs a line as a shell would."""
    print("$", line)
    assert main(shlex.split(line)[3:]) == 0


model = load_model("toyfaces-ddpm-64")
spec = default_spec("toyfaces-ddpm-64", samples=48, steps=6, store={"h": "full", "skip.*": "none"})
run = extract(model, spec, work / "home")

# %% [markdown]
# ## Labels from CSV
#
# The table has a column `sample` (or `seed`) and one column for each label. You would write it by hand or with your
# own tool. Here a script replaces the person who looks at the first 32 samples: "long" means a reading of hair length
# above the median.

# %%
length = run.labels["toyfaces"]["hair_length"]
lines = ["sample,long_hair"]
lines += [f"{sample},{int(length[sample] > np.median(length))}" for sample in range(32)]
Path("labels.csv").write_text("\n".join(lines))
print("\n".join(lines[:4]))
shell(f"python -m hcache labels-import {run.name} labels.csv --set mine")

# %% [markdown]
# You can also use the Gallery page: select samples and label them there. In Python, `mark_sample` does the same as one
# click:

# %%
from hcache.cache.labels import mark_sample

mark_sample(open_run(run.name), "clicked", "long_hair", 40, 1.0)

# %% [markdown]
# ## A reader from your labels
#
# To measure what an edit changes, hcache must read pictures that you have not labelled. The reader `clicks` fits a
# linear head to your labels, on an image encoder's embeddings or, without an encoder, on the pixels. It prints its
# score on held-out samples. A head that is no better than one fitted to shuffled labels is refused.

# %%
shell(f"python -m hcache read {run.name} --reader clicks:mine/long_hair --name long-hair")

# %% [markdown]
# ## Can the label be read from h?
#
# A probe needs a value for every sample, and we labelled 32 of 48. The reader has read all samples, so we probe its
# readings.

# %%
shell(f"python -m hcache probe {run.name} --label long-hair/long_hair --site h --step 3")

# %% [markdown]
# ## A direction from positives alone
#
# We fit the direction to the first 32 samples. The last 16 take no part in the fit; we try the direction on eight of
# them.

# %%
from hcache.directions.naive import naive_direction
from hcache.edits.render import render_moved
from hcache.progress import drive
from hcache.readers.reading import reader_of
from hcache.recipes.window import Window

run = open_run(run.name)
mine = run.labels["mine"]["long_hair"][:32]
positives = [sample for sample in range(32) if mine[sample] == 1][:12]
unseen = list(range(40, 48))
everywhere = Window(first=0, last=run.spec.steps - 1)
reader = reader_of(run, "long-hair")
spread = reader(run.images)["long_hair"].std()


def effect(direction):
    """The mean change of the reading at strength 1, in its spread over the run."""
    before = reader(run.images[unseen])["long_hair"]
    pictures = drive(
        render_moved(model, run, unseen, direction, [1.0] * len(unseen), everywhere, True)
    )
    return (reader(pictures)["long_hair"] - before).mean() / spread


moved = effect(naive_direction(run, positives))
print(f"long hair, 12 positives: {moved:+.2f}")

# %% [markdown]
# ## The null
#
# We fit directions to *random* positives by the same procedure: the same number of samples, the same length, the same
# unseen pictures. The labels matter only if our direction changes the reading more than these do.

# %%
rng = np.random.default_rng(0)
nulls = [effect(naive_direction(run, rng.choice(32, 12, replace=False))) for _ in range(5)]
print("random positives:", ", ".join(f"{null:+.2f}" for null in nulls))
beyond = sum(abs(null) >= abs(moved) for null in nulls)
print(f"{beyond} of {len(nulls)} random directions move the reading as far, or further")

# %% [markdown]
# Five random directions cannot give a p below 1/6. `measure` uses 19, gives the interval over samples, and shows at
# which noise level the direction acts:
#
# ```
# python -m hcache measure RUN --label mine/long_hair --reader long-hair
# ```
#
# The number does *not* say that only the hair changed. The measure of leakage tests that.
