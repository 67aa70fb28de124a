from hcache.ui.frame import errors_shown, run_page
from hcache.ui.panels import gallery, selection

with run_page("Gallery") as run:
    with errors_shown():
        gallery.gallery_panel(run)
    with errors_shown():
        gallery.sample_panel(run)
    with errors_shown():
        selection.selection_panel(run)
