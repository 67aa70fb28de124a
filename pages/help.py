from hcache.ui.frame import errors_shown, home_page, pick_run
from hcache.ui.panels import help as panel

with home_page("Help") as home:
    with errors_shown():
        pick_run(home)
    with errors_shown():
        panel.help_panel()
