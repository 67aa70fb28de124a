from hcache.ui import loaders
from hcache.ui.frame import errors_shown, pick_run, start_page
from hcache.ui.panels import extract

home = start_page("Extract")
with errors_shown():
    pick_run(home)
    model = extract.model_panel()
    if model:
        anatomy = loaders.anatomy(model)
        spec, pictures = extract.spec_panel(model, anatomy)
        plan = extract.plan_panel(spec, anatomy, home)
        extract.start_panel(spec, plan, home, pictures)
with errors_shown():
    extract.jobs_panel(home)
