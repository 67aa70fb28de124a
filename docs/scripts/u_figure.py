"""Makes the README's opening picture: the U-figure of the demo's first two samples, as the Figures
page gives it.

    PYTHONPATH=. python docs/scripts/u_figure.py
"""

import tempfile
from pathlib import Path

from hcache import figures, load_model
from hcache.cards import default_spec
from hcache.extraction.run import extract

MODEL = "toyfaces-ddpm-64"

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "runs").mkdir()
        run = extract(load_model(MODEL), default_spec(MODEL, samples=2), Path(home))
        figure = figures.u_figure(run, donor=1, recipient=0, caption="")
    (Path(__file__).parents[1] / "pictures" / "u-figure.png").write_bytes(figure.png(scale=1))
