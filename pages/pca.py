from hcache.ui.frame import run_page
from hcache.ui.panels import pca

with run_page("PCA", needs=4) as run:
    pca.pca_panel(run)
