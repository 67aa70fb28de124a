from hcache.ui.frame import run_page
from hcache.ui.panels import verdict

with run_page("Verdict") as run:
    verdict.verdict_panel(run)
