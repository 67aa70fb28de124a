from hcache.ui.frame import run_page
from hcache.ui.panels import edit

with run_page("Edit", needs=8) as run:
    edit.edit_panel(run)
