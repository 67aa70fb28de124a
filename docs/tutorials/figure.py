# %% [markdown]
# # A figure for a paper
#
# hcache saves figures as PDF and SVG with selectable text, or as PNG with the *recipe* of every picture inside.
# Figures have their final size: a single column is 3.3 inches wide, and 7-point type is printed at 7 points.

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
# The caption is generated from the figure's settings. `caption="..."` replaces it, and `caption=""` removes it if your
# paper sets its own.

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
# ## Reproduce a picture
#
# The PNG contains the model, weights, run, seed, edit and strength of every cell. `render` makes the pictures again
# from it and compares them.

# %%
strip.save(work / "strip.png")
command = ["render", str(work / "strip.png"), "--out", str(work / "again"), "--home", str(work)]
assert main(command) == 0

# %% [markdown]
# A reviewer with hcache and the weights needs only the PNG to do the same. In a shell:
#
# ```
# python -m hcache figure strip RUN --label yaw --out strip.pdf --out strip.png --width single
# python -m hcache render strip.png --out again
# ```
