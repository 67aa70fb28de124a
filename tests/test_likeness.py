"""How much of a picture an edit keeps: in pixels, structure and colour, and to an image encoder."""

import json

import numpy as np
import pytest
from reader_models import save_clip, save_dinov2
from tiny import drain

from hcache.analysis.estimate import Contrast
from hcache.analysis.likeness import likeness
from hcache.analysis.similarity import ssim
from hcache.analysis.swaps import Pictures, swap_effect
from hcache.cli.main import main
from hcache.directions.direction import random_direction, spread
from hcache.edits.declared import Moved
from hcache.errors import AnalysisError
from hcache.measures.cells import cells_of
from hcache.measures.declared.likeness import exhibits
from hcache.measures.driver import Driver, TrialGrid, no_readings
from hcache.measures.edit_likeness import likeness_of
from hcache.measures.evidence import Evidence
from hcache.readers.function import Function
from hcache.readers.likeness import EmbeddingDistance, distances_of, encoder_distances
from hcache.readers.texts import Texts
from hcache.recipes.window import Window

GRID = TrialGrid(samples=(0, 1, 2, 3), window=Window(first=0, last=3), strengths=(-2.0, 0.0, 2.0))


def mean_colour(pictures):
    """An encoder that sees the mean colour alone."""
    return pictures.mean((1, 2))


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


class TestEmbeddingDistance:
    def test_is_one_less_the_cosine(self):
        red, green, both = (np.full((1, 4, 4, 3), c, np.uint8) for c in ([9, 0, 0], [0, 7, 0], 5))
        far = EmbeddingDistance(embed=mean_colour)
        assert far(red, red)[0] == pytest.approx(0, abs=1e-12)
        assert far(red, green)[0] == pytest.approx(1)
        assert far(red, both)[0] == pytest.approx(1 - 1 / np.sqrt(3))

    def test_it_is_never_below_zero(self):
        """A cosine of a vector with itself can be 1 + 2e-16, which tables showed as -0.000."""
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (500, 4, 4, 3), np.uint8)
        far = EmbeddingDistance(embed=lambda p: p.reshape(len(p), -1).astype(float))
        found = far(pictures, pictures.copy())
        assert not np.signbit(found).any() and (found < 1e-12).all()

    def test_pictures_are_embedded_once(self, pictures):
        seen = []
        far = EmbeddingDistance(embed=lambda p: seen.append(len(p)) or mean_colour(p))
        far(pictures, pictures[::-1])
        far(pictures, pictures[::-1])
        assert seen == [6, 6]

    def test_a_reader_gives_its_own_encoder(self, tmp_path, pictures):
        clip = str(save_clip(tmp_path / "clip"))
        reader = Texts(model=clip, attributes={"smile": ("a happy face", "a sad face")}).open("r")
        ((name, far),) = distances_of(reader).items()
        ((same, other),) = encoder_distances(clip, "cpu").items()
        assert name == same and name.startswith("embedding "), "one encoder has one name"
        np.testing.assert_allclose(
            far(pictures, pictures[::-1]), other(pictures, pictures[::-1]), atol=1e-6
        )
        (dino,) = encoder_distances(str(save_dinov2(tmp_path / "dino")), "cpu")
        assert dino != name

    def test_a_reader_without_an_encoder_gives_none(self):
        assert distances_of(None) == {}
        assert distances_of(Function(target="json:dumps").open("f")) == {}
        assert list(distances_of(Function(target="hcache.toyfaces.reader:read").open("t")))


class TestLikeness:
    def test_an_edit_beyond_all_random_ones_is_told_in_both_directions(self):
        rng = np.random.default_rng(1)
        random = rng.uniform(0.4, 0.6, (19, 8))
        for change in (0.1, 0.9):
            (found,) = likeness({"d": np.full(8, change)}, {"d": random}).values()
            assert found.p == pytest.approx(1 / 20)
            assert found.excess.value == pytest.approx(change - random.mean())
        (found,) = likeness({"d": random[0]}, {"d": random[1:]}).values()
        assert found.p > 0.05

    def test_p_is_right_where_the_edit_is_one_of_the_random_ones(self):
        rng = np.random.default_rng(2)
        called = 0
        for _ in range(200):
            draws = rng.exponential(size=(20, 6)) * rng.uniform(0.5, 2, (20, 1))
            (found,) = likeness({"d": draws[0]}, {"d": draws[1:]}, repeats=10).values()
            called += found.p <= 0.05
        assert called <= 20, "of 200, at 5 %"

    def test_without_random_directions_nothing_is_compared(self):
        (found,) = likeness({"d": np.arange(4.0)}, {"d": np.zeros((0, 4))}).values()
        assert found.measured.value == 1.5 and not found.null.defined and found.p is None

    @pytest.mark.parametrize("random", [np.zeros(4), np.zeros((2, 3)), np.full((2, 4), np.nan)])
    def test_what_does_not_fit_is_refused(self, random):
        with pytest.raises(AnalysisError):
            likeness({"d": np.ones(4)}, {"d": random})


def test_a_swap_is_held_against_donor_and_recipient_by_an_encoder(pictures):
    """R is A to the encoder, and half of A in pixels."""
    donor = np.zeros((6, 16, 16, 3), np.uint8)
    donor[..., 0] = pictures[..., 0]
    recipient = donor[..., ::-1].copy()
    swapped = (donor // 2).astype(np.uint8)
    found = swap_effect(
        *(Pictures(images=each) for each in (donor, recipient, swapped)),
        other=Pictures(images=recipient),
        noise=Pictures(images=recipient),
        distances={"embedding 1": EmbeddingDistance(embed=mean_colour)},
        repeats=50,
    )
    assert list(found.carried) == ["embedding 1"]
    assert found.carried["embedding 1"].measured.value == pytest.approx(1, abs=1e-6)
    assert found.carried["embedding 1"].null.value == pytest.approx(0, abs=1e-6)


def test_distances_of_an_edit_are_those_of_its_pictures(tiny_model, copied_run):
    move = random_direction(spread(copied_run), 3, copied_run.spec.model, copied_run.timesteps)
    driver = Driver(
        tiny_model,
        copied_run,
        no_readings,
        "",
        encoder={"embedding 1": EmbeddingDistance(embed=mean_colour)},
    )
    record = drain(likeness_of(driver, move, GRID, name="it", nulls=2, repeats=20))[1]
    changed = {name: Contrast.from_json(each) for name, each in record.result["changed"].items()}
    assert set(changed) == {"pixels", "structure", "colour", "embedding 1"}

    strengths = (2.0,) * len(GRID.samples)
    change = Moved(moves=(move,), strengths=strengths, window=GRID.window)
    edited = drain(driver.images(GRID.samples, change, 0, True))[1]
    expected = 1 - ssim(edited, driver.unedited(GRID.samples)).mean()
    assert changed["structure"].measured.value == pytest.approx(expected, abs=0.02)
    (bars,) = exhibits("it", {copied_run.name: Evidence(copied_run)})
    assert set(bars.shown.runs[copied_run.name]) == set(changed)


def test_a_run_without_labels_or_reader_is_told_how_much_edits_keep(
    copied_run, tmp_path, capsys, monkeypatch
):
    """Along principal components, and by an encoder that the command names."""
    from hcache.cache.layout import LABELS

    for path in (copied_run.folder / LABELS).glob("*"):
        path.unlink()
    clip = save_clip(tmp_path / "clip")
    arguments = ("--what", "likeness", "--samples", "4", "--nulls", "2", "--json")
    home = str(copied_run.home)
    asked = ["measure", copied_run.name, *arguments, "--encoder", str(clip), "--home", home]
    assert main(asked) == 0
    rows = {row["question"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {"likeness along a component", "identity along a component"}
    for row in rows.values():
        assert row["value"] <= 1 and row["null"] <= 1 and row["low"] <= row["value"] <= row["high"]
    from hcache.cache.reading import open_run

    found = cells_of(open_run(copied_run.folder))
    assert {subject for _, subject in found} == {"component 1"}


class TestLpips:
    """With a stand-in for torchmetrics, since AlexNet's weights cannot be had offline."""

    @pytest.fixture
    def packages(self, tmp_path, monkeypatch):
        import sys
        from types import ModuleType, SimpleNamespace

        import torch

        def far(one, other, *, net_type, reduction, normalize):
            assert (net_type, reduction, normalize) == ("alex", "none", True)
            assert (
                one.shape[1] == 3 and min(one.shape[2:]) >= 64 and 0 <= one.min() <= one.max() <= 1
            )
            return (one - other).abs().mean((1, 2, 3))

        weights = SimpleNamespace(DEFAULT=SimpleNamespace(url="https://weights.test/alexnet-1.pth"))
        for name, content in (
            ("torchmetrics", {}),
            ("torchmetrics.functional", {}),
            ("torchmetrics.functional.image", {"learned_perceptual_image_patch_similarity": far}),
            ("torchvision", {}),
            ("torchvision.models", {"AlexNet_Weights": weights}),
        ):
            module = ModuleType(name)
            module.__dict__.update(content)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        return tmp_path / "checkpoints" / "alexnet-1.pth"

    def test_what_is_missing_is_named_with_where_it_is(self, packages):
        from hcache.errors import ModelError
        from hcache.readers.perceptual import lpips_distance

        with pytest.raises(ModelError, match="https://weights.test/alexnet-1.pth as .*checkpoints"):
            lpips_distance("cpu")

    def test_pictures_are_given_as_the_package_takes_them(self, packages, pictures):
        from hcache.readers.perceptual import LPIPS, lpips_distance

        packages.parent.mkdir()
        packages.write_bytes(b"weights")
        far = lpips_distance("cpu")[LPIPS]
        expected = np.abs(pictures / 255 - pictures[::-1] / 255).mean((1, 2, 3))
        np.testing.assert_allclose(far(pictures, pictures[::-1]), expected, atol=1e-6)

    def test_without_the_packages_the_command_says_what_to_install(
        self, copied_run, capsys, monkeypatch
    ):
        import sys

        monkeypatch.setitem(sys.modules, "torchvision.models", None)
        asked = ["measure", copied_run.name, "--what", "likeness", "--samples", "4", "--lpips"]
        assert main([*asked, "--home", str(copied_run.home)]) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert "pip install hcache[lpips]" in err
