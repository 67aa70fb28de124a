from hcache.ui.frame import run_page
from hcache.ui.panels import probes

with run_page("Probes", needs=10) as run:
    probes.probes_panel(run)
