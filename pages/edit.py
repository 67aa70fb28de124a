from hcache.ui.frame import errors_shown, run_page
from hcache.ui.panels import directions, edit, edit_setup

with run_page("Edit", needs=8) as run:
    with errors_shown():
        edit.drop_panel(run)
    chosen = directions.direction_panel(run)
    if chosen is not None:
        setup = edit_setup.setup_panel(run, chosen)
        with errors_shown():
            edit.preview_panel(run, chosen, setup)
        with errors_shown():
            edit.strip_panel(run, chosen, setup)
