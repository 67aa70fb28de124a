from hcache.ui import loaders
from hcache.ui.downloads import may_read_configuration
from hcache.ui.frame import errors_shown, home_page, pick_run
from hcache.ui.panels import extract
from hcache.ui.watching import job_panel

with home_page("Extract") as home:
    with errors_shown():
        pick_run(home)
    with errors_shown():
        model = extract.model_panel()
        if model and may_read_configuration(model):
            scheduler = extract.schedule_panel(model)
            anatomy = loaders.anatomy(model, scheduler)
            spec, pictures = extract.spec_panel(model, anatomy, scheduler)
            plan = extract.plan_panel(spec, anatomy, home)
            extract.start_panel(spec, plan, home, pictures)
            extract.details_panel(spec, plan, home)
    extract.jobs_heading()
    with errors_shown():
        job_panel(home)
