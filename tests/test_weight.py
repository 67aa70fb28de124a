"""What a run was said to weigh is what it weighs: within 2 %, of every kind of model, whatever
is stored of it.
"""

import dataclasses

import pytest
from kinds import save_kind

from hcache.cache.layout import INDEX, SHARDS
from hcache.cache.plan import fit_budget, make_plan
from hcache.cards import default_spec
from hcache.extraction.run import extract
from hcache.models.loading import load_model
from hcache.specs import Conditioning


@pytest.fixture(scope="module", params=["DDIM", "LDM", "SD", "SDXL", "DiT", "FLUX"])
def kind(request, tmp_path_factory):
    folder = save_kind(request.param, tmp_path_factory.mktemp("kind"))
    model = load_model(str(folder))
    given = Conditioning(classes=(1,)) if request.param == "DiT" else Conditioning()
    given = Conditioning(prompts=("a face",)) if request.param in ("SD", "SDXL", "FLUX") else given
    return (
        request.param,
        model,
        default_spec(str(folder), samples=16, steps=8, batch=8, conditioning=given),
    )


def weight_of(run):
    """Bytes on disk of what the plan counts: the shards and the index."""
    return sum(
        path.stat().st_size for path in (*(run.folder / SHARDS).iterdir(), run.folder / INDEX)
    )


def policies(anatomy):
    """All in full; all pooled; the first in full and the others pooled; none."""
    first, *others = anatomy.sites
    yield dict.fromkeys(anatomy.sites, "full")
    yield dict.fromkeys(anatomy.sites, "pooled")
    yield {first: "full", **dict.fromkeys(others, "pooled")}
    yield {first: "none"}


@pytest.mark.parametrize("number", range(4))
def test_a_run_weighs_what_was_foretold(kind, tmp_path, number):
    name, model, spec = kind
    spec = dataclasses.replace(spec, store=list(policies(model.anatomy))[number])
    run = extract(model, spec, tmp_path)
    assert make_plan(spec, model.anatomy).total == pytest.approx(weight_of(run), rel=0.02), name


@pytest.mark.parametrize(("samples", "batch", "steps"), [(2, 2, 20), (24, 8, 3), (7, 4, 12)])
def test_so_does_one_of_other_sizes(tiny_model, tiny_spec, tmp_path, samples, batch, steps):
    spec = dataclasses.replace(
        tiny_spec, samples=samples, batch=batch, steps=steps, store_dtype="float32"
    )
    run = extract(tiny_model, spec, tmp_path)
    assert make_plan(spec, tiny_model.anatomy).total == pytest.approx(weight_of(run), rel=0.02)


def test_a_budget_is_not_exceeded_on_the_disk(kind, tmp_path):
    name, model, spec = kind
    most = make_plan(
        dataclasses.replace(spec, store=dict.fromkeys(model.anatomy.sites, "full")), model.anatomy
    ).total
    least = make_plan(dataclasses.replace(spec, store={}), model.anatomy).total
    budget = (least + most) // 2
    fitted, _ = fit_budget(spec, model.anatomy, budget)
    assert fitted.store
    assert weight_of(extract(model, fitted, tmp_path)) <= 1.02 * budget
