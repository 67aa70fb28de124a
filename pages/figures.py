from hcache.ui.frame import run_page
from hcache.ui.panels import figures

with run_page("Figures", needs=2) as run:
    figures.figures_panel(run)
