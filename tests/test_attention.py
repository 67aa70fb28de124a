"""Cross-attention maps of tiny text U-Nets: the softmax of every layer, by hand; kept and shown."""

import json

import numpy as np
import pytest
import torch
from kinds import save_kind
from PIL import Image
from tiny import drain

from hcache.cache.plan import make_plan
from hcache.cache.projections import projections_path
from hcache.cards import default_spec
from hcache.cli.main import main
from hcache.edits.executor import Executor
from hcache.edits.swap import SwapEdit
from hcache.errors import NotStoredError, UnknownSiteError, UsageError
from hcache.extraction.rerun import rerun
from hcache.extraction.run import extract
from hcache.figures.overlay import overlay
from hcache.measures.attention import attention_maps, check_attention, word_maps
from hcache.measures.stored_words import stored_maps
from hcache.models.attention_maps import cross_attentions
from hcache.models.conditioners import COND
from hcache.models.loading import load_model
from hcache.recipes.edits import DonorRef
from hcache.recipes.window import Window
from hcache.specs import Conditioning

PROMPT = Conditioning(prompts=("a face",), guidance=3.0)


@pytest.fixture(scope="module", params=["SD", "SDXL"])
def text_run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    save_kind(request.param, folder / "model")
    model = load_model(str(folder / "model"))
    spec = default_spec(str(folder / "model"), samples=2, steps=3, conditioning=PROMPT)
    return model, extract(model, spec, folder / "home")


def by_hand(model, x, t, condition):
    """The maps by what the layers' own projections put out, taken by hooks."""
    taken = []

    def take(layer):
        q, k = [], []
        return (
            q,
            k,
            (
                layer.to_q.register_forward_hook(lambda *a: q.append(a[2])),
                layer.to_k.register_forward_hook(lambda *a: k.append(a[2])),
            ),
        )

    layers = cross_attentions(model.network)
    taken = {name: (layer, *take(layer)) for name, layer in layers.items()}
    with torch.inference_mode():
        model.trace(x, t, condition)
    total = 0
    for layer, q, k, hooks in taken.values():
        for hook in hooks:
            hook.remove()
        heads = layer.heads
        query, key = (each[0][0].unflatten(1, (heads, -1)).transpose(0, 1) for each in (q, k))
        logits = query @ key.transpose(1, 2) / query.shape[2] ** 0.5
        shares = logits.softmax(2).mean(0)
        side = round(len(shares) ** 0.5)
        maps = shares.T.reshape(1, -1, side, side)
        size = x.shape[2:]
        total = total + torch.nn.functional.interpolate(maps, size, mode="bicubic").clamp(min=0)[0]
    return total / len(taken), len(taken)


def test_maps_are_the_softmax_of_every_layer(text_run):
    model, run = text_run
    x = torch.from_numpy(run.x(0, 1))[None]
    condition = model.condition(PROMPT, 1).branches[COND]
    expected, layers = by_hand(model, x, run.timesteps[1], condition)
    before = model.trace(x, run.timesteps[1], condition)[1]
    found = attention_maps(model, x, run.timesteps[1], condition)
    assert layers >= 2 and found.shape == expected.shape == (16, *x.shape[2:])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert float(found.std()) > 1e-4, "they are not all the same"
    np.testing.assert_allclose(found.sum(0).numpy(), 1, atol=0.05)  # but for what is cut at 0
    after = model.trace(x, run.timesteps[1], condition)[1]
    assert torch.equal(before, after), "the processors are the network's own again"


def test_words_are_mapped_at_every_step_and_kept(text_run):
    model, run = text_run
    shares, found = drain(word_maps(lambda: model, run, 1))
    assert shares[-1] == 1 and found.maps.shape == (3, len(found.tokens), *run.anatomy.x[1:])
    assert "".join(found.tokens) == "aface", "without the marks of its ends and what fills it up"
    condition = model.condition(PROMPT, 1).branches[COND]
    x = torch.from_numpy(run.x(1, 2))[None]
    expected = attention_maps(model, x, run.timesteps[2], condition)
    np.testing.assert_allclose(found.of(0, 2), expected[1].cpu(), atol=1e-6)
    np.testing.assert_allclose(found.of(0), found.maps[:, 0].mean(0))
    kept = stored_maps(run, 1)
    assert kept.tokens == found.tokens and np.array_equal(kept.maps, found.maps)

    def no_model():
        raise AssertionError("the model was asked for")

    assert np.array_equal(drain(word_maps(no_model, run, 1))[1].maps, found.maps)
    for token, step in ((len(found.tokens), None), (0, 3), (-1, None)):
        with pytest.raises(UsageError, match="tokens and 3 steps"):
            found.of(token, step)


@pytest.fixture(scope="module")
def stored_run(text_run):
    """A run of the same model whose shards hold the maps."""
    model, run = text_run
    store = {"h": "pooled", "attention": "full"}
    spec = default_spec(
        run.spec.model, samples=12, steps=2, conditioning=PROMPT, store=store, batch=5
    )
    return extract(model, spec, run.home)


def test_maps_are_stored_like_a_site_and_read_without_the_model(text_run, stored_run):
    model, _ = text_run
    run = stored_run
    shape = (16, *run.anatomy.x[1:])
    assert run.anatomy.attention == shape and run.stored_sites == ("h", "attention")
    condition = model.condition(PROMPT, 1).branches[COND]
    x = torch.from_numpy(run.x(7, 1))[None]
    expected = attention_maps(model, x, run.timesteps[1], condition).numpy()
    np.testing.assert_allclose(run.row("attention", 7, 1), expected, atol=2e-3)
    found = stored_maps(run, 7)
    assert "".join(found.tokens) == "aface"
    np.testing.assert_allclose(found.of(1, 1), expected[2], atol=2e-3)
    assert not projections_path(run, "attention.7").exists(), "it is read from the shards"
    plan = make_plan(run.spec, run.anatomy).parts
    assert plan["attention"] == 12 * 2 * 2 * np.prod(shape)
    again = drain(rerun(model, run, [3]))[1]["attention"]
    assert again.largest <= again.tolerance


def test_pca_reads_the_maps_of_one_prompt_and_refuses_several(text_run, stored_run):
    model, run = text_run
    matrix = stored_run.matrix("attention", 1)
    assert matrix.shape == (12, np.prod(stored_run.anatomy.attention)) and matrix.std(0).max() > 0
    np.testing.assert_allclose(
        stored_run.pooled("attention", 1), matrix.reshape(12, 16, -1).mean(2), atol=1e-6
    )
    several = Conditioning(prompts=("a face", "a dog"))
    store = {"attention": "pooled"}
    spec = default_spec(run.spec.model, samples=2, steps=1, conditioning=several, store=store)
    other = extract(model, spec, run.home)
    with pytest.raises(NotStoredError, match="several prompts, so token k is another word"):
        other.matrix("attention", 0)
    with pytest.raises(NotStoredError):
        other.stored_sites  # noqa: B018 - it raises


def test_nothing_is_swapped_in_maps_and_other_models_have_none(text_run, stored_run, tiny_model):
    model, _ = text_run
    donor = DonorRef(run=stored_run.name, sample=1)
    edit = SwapEdit(sites=("attention",), donor=donor, alpha=1.0, window=Window(first=0, last=1))
    with pytest.raises(UnknownSiteError, match="only stored"):
        edit.bind(Executor(model, stored_run))
    with pytest.raises(UnknownSiteError, match="no site 'attention'"):
        default_spec("toyfaces-ddpm-64", store={"attention": "full"}).check(tiny_model.anatomy)


def test_the_command_writes_the_maps_over_the_picture(text_run, tmp_path, capsys):
    _, run = text_run
    out, home = tmp_path / "words.png", ("--home", str(run.home))
    asked = ["attention", run.name, "--sample", "0", "--out", str(out), *home]
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "".join(told["tokens"]) == "aface" and all(0 < each < 1 for each in told["shares"])
    width = run.anatomy.image[1]
    assert Image.open(out).size[0] == (len(told["tokens"]) + 1) * (width + 4) + 4
    assert main(["attention", run.name, "--sample", "0", "--step", "9", *home]) == 2
    assert "3 steps" in capsys.readouterr().err


def test_models_without_words_are_refused(tiny_model, tiny_run):
    with pytest.raises(UsageError, match="has no prompt"):
        drain(word_maps(lambda: tiny_model, tiny_run, 7))
    with pytest.raises(UsageError, match="no cross-attention to a prompt"):
        check_attention(tiny_model)


def test_an_overlay_colours_the_largest_value_and_leaves_the_least():
    picture = np.full((8, 8, 3), 100, np.uint8)
    values = np.zeros((8, 8))
    values[2, 3] = 1
    found = overlay(picture, values)
    assert (found[7, 7] == 100).all() and (found[2, 3] != 100).any()
    assert np.array_equal(overlay(picture, np.ones((8, 8))), picture), "nothing stands out"


def test_the_gallery_shows_the_words_over_the_picture(text_run, monkeypatch):
    import streamlit as st
    from streamlit.testing.v1 import AppTest
    from test_pages import finish, html_of, open_page

    _, run = text_run
    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(run.home))
    page = open_page(AppTest.from_file("../dashboard.py", default_timeout=60), "gallery")
    assert any(each.label == "Where each word is attended to" for each in page.expander)
    page = finish(page, "run-attention")
    assert not page.exception and not page.error
    tokens = stored_maps(run, 0).tokens
    for token in tokens:
        assert f"<figcaption>{token}</figcaption>" in html_of(page)
    assert any("own scale" in each.value for each in page.caption)
