from hcache.ui.frame import run_page
from hcache.ui.panels import directions, edit, edit_setup

with run_page("Edit", needs=8) as run:
    edit.drop_panel(run)
    chosen = directions.direction_panel(run)
    if chosen is not None:
        setup = edit_setup.setup_panel(run, chosen)
        edit.preview_panel(run, chosen, setup)
        edit.strip_panel(run, chosen, setup)
