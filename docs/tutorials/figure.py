# %% [markdown]
# # A figure for a paper
#
# Figures for print come as PDF and SVG with text as text, or as PNG with the *recipe* of every picture inside. The size
# on the sheet is the size in print: a single column is 3.3 inches wide, and type of 7 points is 7 points.

# %%
from pathlib import Path
from tempfile import mkdtemp

from hcache import figures, load_model
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.extraction.run import extract

work = Path(mkdtemp())
run = extract(
    load_model("toyfaces-ddpm-64"), default_spec("toyfaces-ddpm-64", samples=16, steps=8), work
)

# %% [markdown]
# ## The U-figure
#
# What does each site carry from a donor to a recipient? Each picture beside the U is the recipient with the donor's
# activations at that site alone.

# %%
u = figures.u_figure(run, donor=9, recipient=4, width="double", size=8)
u

# %% [markdown]
# The caption is made from what was computed. Give `caption="..."` to replace it, or `caption=""` if your paper sets
# its own.

# %%
print(u.caption)
print(u.save(work / "u-figure.pdf").stat().st_size, "bytes of PDF")

# %% [markdown]
# ## A strip: methods by strengths

# %%
strip = figures.strip(
    run,
    "yaw",
    sample=4,
    ways=["naive", "supervised"],
    strengths=(-1.5, 0, 1.5),
    top=4,
    width="single",
)
strip

# %% [markdown]
# ## The picture that can be made again
#
# The PNG carries model, weights, run, seed, edit and strength of every cell. `render` makes the pictures again from
# it, and compares them.

# %%
strip.save(work / "strip.png")
command = ["render", str(work / "strip.png"), "--out", str(work / "again"), "--home", str(work)]
assert main(command) == 0

# %% [markdown]
# A reviewer who has hcache and the weights can do the same with the PNG alone. From a shell:
#
# ```
# python -m hcache figure strip RUN --label yaw --out strip.pdf --out strip.png --width single
# python -m hcache render strip.png --out again
# ```
