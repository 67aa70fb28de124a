"""Similarities of pictures: each is 0 for the same picture, sees what it is said to see, and goes
through `measure`, the verdict, the table of groups and the figure.
"""

import json

import numpy as np
import pytest
from reader_models import save_clip, save_dinov2, save_siglip
from scipy.ndimage import gaussian_filter

from hcache.analysis.estimate import Contrast, Estimate
from hcache.analysis.similarity import LUMA, ssim
from hcache.analysis.swaps import SwapEffect, which_carries
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import ModelError, UsageError
from hcache.figures.verdict import carriers_table
from hcache.measures import setting as setting_module
from hcache.measures.cells import cells_of
from hcache.measures.declared import swaps as swaps_module
from hcache.measures.declared.swaps import carriers, group_map
from hcache.measures.evidence import Evidence
from hcache.measures.similar import by_aspect
from hcache.readers.encoder import load_encoder
from hcache.readers.texts import Texts
from hcache.similarities.declared.ms_ssim import WEIGHTS, scales_of
from hcache.similarities.registry import (
    SIMILARITIES,
    names_of,
    open_similarities,
    similarity_of,
)
from hcache.similarities.similarity import ASPECTS, Opening

DISTANCES = ("ms_ssim", "keypoints", "layout", "gram", "patterns")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return str(save_clip(tmp_path_factory.mktemp("clip")))


def scene(seed, n=4, side=64):
    """Smooth coloured blobs with corners on them."""
    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=(n, side, side, 3)), (0, 6, 6, 0))
    found = 128 + 40 * smooth / smooth.std()
    for picture in found:
        for _ in range(12):
            y, x = rng.integers(0, side - 8, 2)
            picture[y : y + 6, x : x + 6] = rng.uniform(0, 255, 3)
    return np.clip(found, 0, 255).astype(np.uint8)


def opened(name, clip, side=64):
    opening = Opening(side=side, source=clip, device="cpu")
    return next(iter(open_similarities([name], opening).distances.values()))


@pytest.mark.parametrize("name", DISTANCES)
def test_a_picture_is_no_distance_from_itself_and_both_ways_are_alike(name, clip):
    far, a, b = opened(name, clip), scene(0), scene(1)
    np.testing.assert_allclose(far(a, a), 0, atol=1e-4)
    apart, order = far(a, b), [2, 0, 3, 1]
    np.testing.assert_allclose(apart, far(b, a), rtol=1e-4, atol=1e-6)
    assert (apart > 0.01 * apart.max()).all() and apart.shape == (4,)
    np.testing.assert_allclose(far(a[order], b[order]), apart[order], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", DISTANCES)
def test_more_of_a_planted_change_is_further_away(name, clip):
    far, a = opened(name, clip), scene(0)
    noise = np.random.default_rng(3).normal(size=a.shape)
    changed = [np.clip(a + s * noise, 0, 255).astype(np.uint8) for s in (3, 15, 60)]
    found = [far(a, each).mean() for each in changed]
    assert 0 < found[0] < found[1] < found[2]


def test_each_sees_what_it_is_said_to_see(clip):
    """The same pixels elsewhere are another structure and the same texture."""
    a = scene(0)
    turned = a[:, ::-1, ::-1]
    other = scene(1)
    patterns = opened("patterns", clip)
    np.testing.assert_allclose(patterns(a, turned), 0, atol=1e-9)
    assert (patterns(a, other) > 1e-4).all()
    assert (opened("ms_ssim", clip)(a, turned) > 0.3).all()
    shifted = np.roll(a, 5, axis=2)
    keypoints = opened("keypoints", clip)
    assert keypoints(a, shifted).mean() < 0.5 * keypoints(a, other).mean(), "moved, not gone"
    gram, layout = opened("gram", clip), opened("layout", clip)
    swapped = a.copy()  # whole patches of the encoder change places: 16 x 16 pixels, 8 a patch
    swapped[:, :32], swapped[:, 32:] = a[:, 32:], a[:, :32]
    assert (layout(a, swapped) > 0).all() and (gram(a, swapped) > 0).all()


def test_ms_ssim_is_the_published_product_over_scales():
    """By SSIM's own parts at every scale, from the formula of the paper."""
    a, b = scene(0, 2, 180), scene(0, 2, 180)
    b = np.clip(b + np.random.default_rng(1).normal(0, 20, b.shape), 0, 255).astype(np.uint8)
    assert scales_of(180) == 5 and sum(WEIGHTS) == pytest.approx(1, abs=1e-3)
    distance = SIMILARITIES["ms_ssim"].open(Opening(side=180))
    assert list(distance) == ["MS-SSIM 5 scales"]
    found = 1 - distance["MS-SSIM 5 scales"](a, b)
    for row, (one, other) in enumerate(zip(a @ LUMA, b @ LUMA, strict=True)):
        product = 1.0
        for scale, weight in enumerate(np.array(WEIGHTS) / sum(WEIGHTS)):
            luminance, contrast = _parts(one, other)
            product *= (luminance * contrast if scale == 4 else contrast) ** weight
            one, other = (_halved(each) for each in (one, other))
        assert found[row] == pytest.approx(product, abs=2e-3)


def _halved(x):
    height, width = (side // 2 * 2 for side in x.shape)
    return x[:height, :width].reshape(height // 2, 2, width // 2, 2).mean((1, 3))


def _parts(one, other):
    """(mean of l * cs) / (mean of cs) and the mean of cs, so that their product is SSIM."""

    def blurred(x):
        return gaussian_filter(x, 1.5, radius=5)[5:-5, 5:-5]

    m, k = blurred(one), blurred(other)
    cov = blurred(one * other) - m * k
    var = blurred(one * one) - m * m + blurred(other * other) - k * k
    c1, c2 = 2.55**2, 7.65**2
    contrast = (2 * cov + c2) / (var + c2)
    whole = (2 * m * k + c1) / (m * m + k * k + c1) * contrast
    return whole.mean() / contrast.mean(), contrast.mean()


def test_small_pictures_have_as_many_scales_as_fit_and_the_name_says_so():
    assert [scales_of(side) for side in (21, 22, 64, 175, 176)] == [1, 2, 3, 4, 5]
    (name,) = SIMILARITIES["ms_ssim"].open(Opening(side=64))
    assert name == "MS-SSIM 3 scales"
    with pytest.raises(UsageError, match="22 pixels a side, got 21"):
        SIMILARITIES["ms_ssim"].open(Opening(side=21))


def test_keypoints_of_pictures_without_corners(clip):
    far = opened("keypoints", clip)
    flat = np.full((1, 64, 64, 3), 90, np.uint8)
    assert far(flat, flat)[0] == 0 and far(flat, scene(0, 1))[0] == far(scene(0, 1), flat)[0] == 1


def test_gram_is_the_root_of_the_style_loss_by_hand(clip):
    a, b = scene(0, 2), scene(1, 2)
    encoder = load_encoder(clip, "", "cpu")
    expected = []
    for row in range(2):
        losses = []
        for one, other in zip(*(encoder.layers(x[row : row + 1]) for x in (a, b)), strict=True):
            f, g = (each[0].numpy().astype(np.float64).T for each in (one, other))
            channels, places = f.shape
            paper = np.square(f @ f.T - g @ g.T).sum() / (4 * channels**2 * places**2)
            losses.append(paper)
        expected.append(np.sqrt(np.mean(losses)))
    np.testing.assert_allclose(opened("gram", clip)(a, b), expected, rtol=1e-4)


@pytest.mark.parametrize(("save", "places"), [(save_clip, 4), (save_siglip, 4), (save_dinov2, 4)])
def test_layers_have_the_places_of_patches_and_no_class_token(save, places, tmp_path):
    encoder = load_encoder(str(save(tmp_path / "model")), "", "cpu")
    found = encoder.layers(scene(0, 2))
    assert len(found) == 2 and {each.shape for each in found} == {(2, places, 16)}


def test_an_encoder_of_maps_has_their_places(tmp_path):
    from reader_models import save_encoder
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    config.image_size = 16
    folder = save_encoder(tmp_path / "resnet", ResNetModel, config, "ViTImageProcessor", 0)
    encoder = load_encoder(str(folder), "", "cpu")
    assert [each.shape[2] for each in encoder.layers(scene(0, 2))] == [8, 16]


def test_s_dir_is_the_cosine_of_two_changes(clip):
    texts = Texts(model=clip, attributes={"smile": ("a happy face", "a sad face")})
    opening = Opening(side=64, texts=texts, device="cpu")
    found = open_similarities(["s_dir"], opening)
    assert not found.distances
    ((name, towards),) = found.directed.items()
    assert name.startswith("S_dir smile ")
    a, b = scene(0), scene(1)
    encoder = load_encoder(clip, "", "cpu", True)
    change = encoder.pictures(b) - encoder.pictures(a)
    (axis,) = texts.axes(encoder).values()
    expected = change @ axis / np.linalg.norm(change, axis=1) / np.linalg.norm(axis)
    np.testing.assert_allclose(towards(b, a), expected, atol=1e-5)
    np.testing.assert_allclose(towards(a, b), -expected, atol=1e-5)
    np.testing.assert_allclose(towards(a, a), 0)


def test_what_is_missing_is_said_and_all_takes_the_rest(monkeypatch):
    import sys

    with pytest.raises(UsageError, match="needs an image encoder; name one with --encoder"):
        SIMILARITIES["gram"].open(Opening(side=64))
    with pytest.raises(UsageError, match="S_dir needs texts.*python -m hcache read it"):
        SIMILARITIES["s_dir"].open(Opening(side=64, run="it"))
    with pytest.raises(ModelError, match="no image encoder at nowhere-at-all"):
        SIMILARITIES["layout"].open(Opening(side=64, source="nowhere-at-all"))
    found = open_similarities(names_of("all"), Opening(side=64), leave_out=True)
    assert {"gram", "layout", "s_dir", "lpips"} <= set(found.missing)
    assert "keypoints" in found.distances and "local binary patterns" in found.distances
    for module, name in (("skimage.feature", "patterns"), ("skimage.feature", "keypoints")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UsageError, match=r'pip install "hcache\[similarity\]"'):
            SIMILARITIES[name].open(Opening(side=64))
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(UsageError, match=r'pip install "hcache\[similarity\]"'):
        SIMILARITIES["ms_ssim"].open(Opening(side=64))


def test_names_are_checked_and_every_object_says_what_it_rewards():
    assert names_of("gram, patterns,gram") == ("gram", "patterns") and names_of("") == ()
    with pytest.raises(UsageError, match="no similarity 'gramm'.*did you mean gram"):
        names_of("gramm")
    with pytest.raises(UsageError, match="no similarity 'pixels'"):
        names_of("pixels")  # measured always
    for each in SIMILARITIES.values():
        assert each.aspect in ASPECTS and each.rewards.endswith(".") and each.title
        assert similarity_of(f"{each.begins} 0a1b2c") is each
    assert similarity_of("smile") is None and similarity_of("pixelsize") is None


def test_a_registered_kind_that_does_not_fit_is_left_out():
    from hcache.similarities.registry import check_similarity

    with pytest.raises(TypeError, match="expected an hcache"):
        check_similarity("it", lambda a, b: 0)
    with pytest.raises(TypeError, match="the same name"):
        check_similarity("other", SIMILARITIES["gram"])


@pytest.fixture
def measured(copied_run, clip, capsys, monkeypatch):
    """The tiny run, read by texts and measured by the command, over one window and one step."""
    monkeypatch.setattr(setting_module, "STEPS", 1)
    monkeypatch.setattr(swaps_module, "COARSE_EDGES", (0.0,))
    home = ("--home", str(copied_run.home))
    asked = ("--reader", f"texts:{clip}", "--attribute", "mouth=a happy face|a sad face")
    assert main(["read", copied_run.name, *asked, "--name", "words", *home]) == 0
    small = ("--samples", "4", "--nulls", "2", "--similarities", "gram,patterns,s_dir")
    what = ("--what", "swaps", "--what", "likeness", "--reader", "words", "--label", "words/mouth")
    assert main(["measure", copied_run.name, *what, *small, *home, "--json"]) == 0
    return open_run(copied_run.folder), capsys.readouterr().out


def test_they_are_in_the_verdict_in_the_table_of_groups_and_in_the_figure(
    measured, tmp_path, capsys
):
    run, told = measured
    rows = json.loads(told[told.index("[") :])
    asked = {row["question"] for row in rows}
    assert {"changed by gram", "changed by patterns", "changed by s_dir"} <= asked
    assert {"carried by gram at h", "carried by patterns at skip.1"} <= asked
    for row in rows:
        if row["question"].startswith("changed by"):
            assert row["low"] <= row["value"] <= row["high"] and row["null"] is not None
    cells = cells_of(run, "words")
    (towards,) = [cell for (name, _), cell in cells.items() if name == "changed by s_dir"]
    assert "S_dir mouth" in towards.unit and abs(towards.estimate.value) <= 1
    evidence = Evidence(run, "words")
    table = carriers(evidence)
    aspects = list(dict.fromkeys(table.aspects[row.quantity] for row in table.rows))
    assert aspects == [
        "structure", "style", "colour", "identity", "whole picture", "read attributes"
    ]  # fmt: skip
    found = group_map(evidence)
    assert found.columns == run.anatomy.sites and len(found.rows) == len(table.rows)
    assert any(name.startswith("style: Gram ") for name in found.rows)
    assert "structure: SSIM" in found.rows and "identity: embedding" in " ".join(found.rows)
    for values, ps in zip(found.estimates, found.p, strict=True):
        for each, p in zip(values, ps, strict=True):
            assert not each.defined or (each.low <= each.high and 0 <= p <= 1)
    out = tmp_path / "groups.svg"
    home = ("--home", str(run.home))
    assert main(["figure", "groups", run.name, "--out", str(out), *home]) == 0
    drawn = out.read_text()
    assert "structure: SSIM" in drawn and "Which group" in drawn
    named = [name for name in found.rows if name.replace("-", "−") in drawn or name in drawn]
    assert len(named) == len(found.rows), "every quantity has its name"
    one = found.estimates[0][0]
    assert f"{one.low:.2f} to {one.high:.2f}".replace("-", "−") in drawn


def test_the_figure_without_swaps_names_the_command(copied_run, capsys, tmp_path):
    asked = ["figure", "groups", copied_run.name, "--out", str(tmp_path / "it.svg")]
    assert main([*asked, "--home", str(copied_run.home)]) == 2
    assert "--what swaps --similarities all" in capsys.readouterr().err


def test_a_misspelt_name_is_said_before_anything_is_measured(copied_run, capsys):
    asked = ["measure", copied_run.name, "--what", "likeness", "--similarities", "gramm"]
    assert main([*asked, "--home", str(copied_run.home)]) == 2
    assert "did you mean gram" in capsys.readouterr().err


def test_structure_is_measured_as_ever():
    a = scene(0)
    (far,) = SIMILARITIES["ssim"].open(Opening(side=64)).values()
    np.testing.assert_allclose(far(a, a[::-1]), 1 - ssim(a, a[::-1]))


def test_a_reading_with_the_name_of_a_similarity_is_a_reading():
    found = by_aspect(["colour", "layout of hair", "Gram 0a1b2c", "pixels"], {"layout of hair"})
    assert found == {
        "style": ["Gram 0a1b2c"],
        "colour": ["colour"],
        "whole picture": ["pixels"],
        "read attributes": ["layout of hair"],
    }


def test_sites_that_were_measured_by_fewer_similarities_are_undefined_there():
    """As after a measuring that was cancelled: one site has the further similarity."""
    near = Estimate(value=0.5, low=0.4, high=0.6, n=8)
    carried = Contrast(measured=near, null=near, excess=near, p=0.01)

    def effect(*names):
        return SwapEffect(
            carried=dict.fromkeys(names, carried), moved={}, kept={}, own=None, pairs=8
        )

    rows = {
        row.quantity: row
        for row in which_carries({"skip.1": effect("pixels"), "h": effect("pixels", "Gram 0a1b2c")})
    }
    assert set(rows) == {"pixels", "Gram 0a1b2c"}
    assert set(rows["Gram 0a1b2c"].sites) == {"skip.1", "h"}
    assert rows["Gram 0a1b2c"].most == ("h",) and rows["Gram 0a1b2c"].nothing == ("skip.1",)
    assert "not measured" in rows["Gram 0a1b2c"].sites["skip.1"].excess.why
    assert "undefined" in carriers_table(tuple(rows.values()), {"Gram 0a1b2c": "style"})


MINE = """
import numpy as np

from hcache.similarities.similarity import COLOUR, Similarity


def far(a, b):
    return np.abs(a.mean((1, 2, 3)) - b.mean((1, 2, 3)))


SIMILARITY = Similarity(
    name="mean_colour",
    title="mean colour",
    begins="mean colour",
    aspect=COLOUR,
    rewards="The same mean.",
    open=lambda opening: {"mean colour": far},
)
"""


def test_another_package_adds_one(tmp_path, monkeypatch):
    """By an entry point; one that is no similarity costs a line."""
    site = tmp_path / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mean_colour_package.py").write_text(MINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[hcache.similarities]\nmean_colour = mean_colour_package:SIMILARITY\n"
        "odd = mean_colour_package:far\n"
    )
    monkeypatch.syspath_prepend(str(site))
    assert names_of("mean_colour") == ("mean_colour",)
    assert similarity_of("mean colour").name == "mean_colour"
    found = open_similarities(["mean_colour"], Opening(side=8)).distances["mean colour"]
    a, b = (np.full((1, 8, 8, 3), value, np.uint8) for value in (10, 30))
    assert found(a, b)[0] == 20
    (problem,) = SIMILARITIES.problems()
    assert "mine 1.0" in problem and "expected an hcache.similarities" in problem


def test_the_verdict_page_offers_them_and_the_task_takes_them(copied_run, monkeypatch):
    import streamlit as st
    from streamlit.testing.v1 import AppTest

    from hcache.background.kinds import Measuring
    from hcache.measures.setting import SIMILARITIES as OPTION

    st.cache_data.clear()
    st.cache_resource.clear()
    monkeypatch.setenv("HCACHE_HOME", str(copied_run.home))
    app = AppTest.from_file("../dashboard.py", default_timeout=60)
    app.session_state["kept"] = {"verdict-similarities": "gram,patterns"}
    app = app.run().switch_page("pages/verdict.py").run()
    assert not app.exception
    (field,) = (each for each in app.multiselect if each.label == "Similarities")
    assert field.value == ["gram", "patterns"]
    assert any("--similarities=gram,patterns" in each.value for each in app.code)
    for name in SIMILARITIES:
        assert SIMILARITIES[name].always or name in OPTION.text
    order = {"what": ["swaps"], "labels": [], "samples": 4, "nulls": 2}
    work = Measuring.read("r", {**order, "options": {"similarities": "gram"}})
    assert work.chosen["similarities"] == "gram"


def test_the_corners_of_a_picture_are_found_once(monkeypatch, clip):
    from skimage.feature import ORB

    sought = []

    def counted(self, grey):
        sought.append(grey)
        return detect(self, grey)

    detect = ORB.detect_and_extract
    monkeypatch.setattr(ORB, "detect_and_extract", counted)
    pictures = scene(977, n=3)
    distance = opened("keypoints", clip)
    first = distance(pictures, np.roll(pictures, 1, axis=0))
    assert len(sought) == 3
    assert np.array_equal(distance(pictures, np.roll(pictures, 1, axis=0)), first)
    assert len(sought) == 3 and len(set(first)) == 3
