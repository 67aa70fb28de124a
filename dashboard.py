"""The dashboard's first page, and its server. Start it with `streamlit run dashboard.py`."""

if (
    __name__ != "__main__"
):  # Streamlit imports this file for its server, and runs it as __main__ for the page
    import streamlit as st

    from hcache.ui.server import GUARDS

    app = st.App(__file__, middleware=GUARDS)
else:
    from hcache.ui.frame import errors_shown, home_page, pick_run, welcome
    from hcache.ui.panels import overview

    with home_page("Overview") as home:
        overview.introduction_panel()
        run = None
        with errors_shown():
            run = pick_run(home)
        with errors_shown():
            welcome(home, run)
        with errors_shown():
            overview.questions_panel(run)
        with errors_shown():
            overview.runs_panel(home)
        with errors_shown():
            overview.anatomy_panel(run)
        if run is not None:
            with errors_shown():
                overview.verification_panel(run)
            with errors_shown():
                overview.provenance_panel(run)
