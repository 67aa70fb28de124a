from hcache.ui.frame import run_page
from hcache.ui.panels import edit

with run_page("Edit", needs=8) as run:
    direction, target = edit.direction_panel(run)
    if direction is not None:
        edit.preview_panel(run, direction)
        edit.strip_panel(run, direction, target)
