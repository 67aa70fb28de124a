"""The dashboard's first page. Start it with `streamlit run dashboard.py`."""

from hcache.ui.frame import errors_shown, pick_run, start_page, wait_for
from hcache.ui.panels import overview

home = start_page("Overview")
overview.introduction_panel()
with errors_shown():
    overview.runs_panel(home)
with errors_shown():
    run = pick_run(home)
    if run is None:
        wait_for(run, 1)
    overview.anatomy_panel(run)
    overview.verification_panel(run, home)
    overview.provenance_panel(run)
