from hcache.ui.frame import run_page
from hcache.ui.panels import gallery, selection

with run_page("Gallery") as run:
    gallery.gallery_page(run)
    selection.selection_panel(run)
