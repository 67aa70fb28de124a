from hcache.ui.frame import run_page
from hcache.ui.panels import swap

with run_page("Swap", needs=2) as run:
    swap.swap_panel(run)
