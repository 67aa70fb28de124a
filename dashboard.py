"""The dashboard's first page. Start it with `streamlit run dashboard.py`."""

from hcache.ui.frame import errors_shown, home_page, pick_run, welcome
from hcache.ui.panels import overview

with home_page("Overview") as home:
    overview.introduction_panel()
    run = None
    with errors_shown():
        run = pick_run(home)
    welcome(home, run)
    overview.questions_panel(run)
    with errors_shown():
        overview.runs_panel(home)
    with errors_shown():
        overview.anatomy_panel(run)
    if run is not None:
        with errors_shown():
            overview.verification_panel(run, home)
            overview.provenance_panel(run)
