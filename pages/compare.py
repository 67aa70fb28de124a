from hcache.ui.frame import run_page
from hcache.ui.panels import compare

with run_page("Compare") as run:
    compare.compare_panel(run)
