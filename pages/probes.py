from hcache.ui.frame import run_page
from hcache.ui.panels import probe_map

with run_page("Probes", needs=10) as run:
    probe_map.probes_panel(run)
