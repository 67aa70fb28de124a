from hcache.ui.frame import errors_shown, run_page
from hcache.ui.panels import gallery, readers, selection

with run_page("Gallery") as run:
    gallery.gallery_page(run)
    with errors_shown():
        selection.selection_panel(run)
    with errors_shown():
        readers.readers_panel(run)
