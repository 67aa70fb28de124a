"""Attribute readers: by texts, classifiers, clicks and functions; on tiny models in their real
folder format.
"""

import json
import sys

import numpy as np
import pytest
import torch
from reader_models import NAMES, save_classifier, save_clip, save_dinov2, save_siglip
from tiny import drain

from hcache.cache.labels import save_labels
from hcache.cache.reading import open_run
from hcache.cli.main import main
from hcache.errors import AnalysisError, ModelError, UsageError
from hcache.readers import Reader, reader_from_json
from hcache.readers.classifier import Classifier
from hcache.readers.clicks import Clicks, fit_clicks
from hcache.readers.encoder import load_encoder
from hcache.readers.function import Function
from hcache.readers.reading import read_run, reader_of, readers_of, unread
from hcache.readers.saved import (
    delete_reader,
    list_readers,
    load_description,
    open_saved,
    save_reader,
)
from hcache.readers.texts import TEMPLATES, Texts, attribute_sets, attributes_of, parse_attribute

SMILE = {"smile": ("a happy face", "a sad face")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Tiny models with random weights, as transformers saves them."""
    home = tmp_path_factory.mktemp("reader models")
    return {
        "clip": save_clip(home / "clip"),
        "siglip": save_siglip(home / "siglip"),
        "dinov2": save_dinov2(home / "dinov2"),
        "classifier": save_classifier(home / "classifier"),
    }


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)


def reading_of(function, **more):
    return Reader(name="r", version="1", digest="d", function=function, **more)


class TestReader:
    def test_returns_float32_by_attribute(self, pictures):
        found = reading_of(lambda p: {"mean": p.mean((1, 2, 3))})(pictures)
        assert found["mean"].dtype == np.float32 and found["mean"].shape == (5,)

    @pytest.mark.parametrize(
        ("function", "said"),
        [
            (lambda p: 1 / 0, "raised ZeroDivisionError"),
            (lambda p: [1, 2], "returned list; expected a mapping"),
            (lambda p: {"a": np.zeros(3)}, r"shape \(3,\) for a; expected \(5,\)"),
            (lambda p: {"a": np.zeros((5, 1))}, r"shape \(5, 1\)"),
            (lambda p: {"a": [1, 2, float("nan"), 4, 5]}, "returned nan for a of picture 2"),
            (lambda p: {"a": ["x"] * 5}, "no numbers for a"),
        ],
    )
    def test_says_which_reader_failed_and_how(self, pictures, function, said):
        with pytest.raises(ModelError, match=said):
            reading_of(function)(pictures)

    def test_refuses_other_arrays(self, pictures):
        with pytest.raises(UsageError, match="uint8"):
            reading_of(lambda p: {})(pictures / 255)

    def test_refuses_other_attributes_than_it_says(self, pictures):
        with pytest.raises(ModelError, match="returned b; expected a"):
            reading_of(lambda p: {"b": np.zeros(5)}, attributes=("a",))(pictures)


class TestTexts:
    @pytest.mark.parametrize("kind", ["clip", "siglip"])
    def test_value_is_the_difference_of_cosines(self, folders, pictures, kind):
        from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

        network = AutoModel.from_pretrained(folders[kind]).eval()
        processor, tokenizer = (
            make.from_pretrained(folders[kind]) for make in (AutoImageProcessor, AutoTokenizer)
        )
        with torch.inference_mode():
            image = network.get_image_features(
                **processor(images=list(pictures), return_tensors="pt")
            ).pooler_output
            sides = []
            for text in SMILE["smile"]:
                tokens = tokenizer(
                    [t.format(text) for t in TEMPLATES],
                    return_tensors="pt",
                    padding="max_length" if kind == "siglip" else True,
                    max_length=16,
                    truncation=True,
                )
                each = torch.nn.functional.normalize(
                    network.get_text_features(**tokens).pooler_output, dim=-1
                ).mean(0)
                sides.append(each / each.norm())
        image = torch.nn.functional.normalize(image, dim=-1)
        expected = (image @ (sides[0] - sides[1])).numpy()
        found = Texts(model=str(folders[kind]), attributes=SMILE).open("r", "cpu")(pictures)[
            "smile"
        ]
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.ptp(found) > 0
        scale = float(network.logit_scale.detach().exp())
        probable = Texts(model=str(folders[kind]), attributes=SMILE, probability=True).open(
            "r", "cpu"
        )(pictures)["smile"]
        np.testing.assert_allclose(probable, 1 / (1 + np.exp(-scale * expected)), atol=1e-4)

    def test_a_batch_gives_what_single_pictures_give(self, folders, pictures):
        reader = Texts(model=str(folders["clip"]), attributes=SMILE).open("r", "cpu")
        alone = np.concatenate([reader(pictures[i : i + 1])["smile"] for i in range(5)])
        np.testing.assert_allclose(reader(pictures)["smile"], alone, atol=1e-5)

    def test_json_round_trip_keeps_the_digest(self, folders):
        texts = Texts(model=str(folders["clip"]), attributes=SMILE)
        again = reader_from_json(json.loads(json.dumps(texts.to_json())), "here")
        assert again == texts
        assert again.open("r", "cpu").digest == texts.open("other name", "cpu").digest

    def test_another_wording_is_another_reader(self, folders):
        a = Texts(model=str(folders["clip"]), attributes=SMILE).open("r", "cpu")
        b = Texts(
            model=str(folders["clip"]), attributes={"smile": ("a happy face", "an old face")}
        ).open("r", "cpu")
        assert a.digest != b.digest and a.key != b.key

    @pytest.mark.parametrize(
        ("pair", "said"),
        [
            (("same", "same"), "same text on both sides"),
            (("", "sad"), "empty text"),
            ("happy", "pair of texts"),
            (("a", "b", "c"), "pair of texts"),
        ],
    )
    def test_refuses_pairs_that_say_nothing(self, pair, said):
        with pytest.raises(UsageError, match=said):
            Texts(model="m", attributes={"a": pair})

    def test_refuses_texts_that_are_alike_to_the_model(self, folders):
        pair = {"a": ("happy", "HAPPY")}  # the tokenizer knows no capitals
        with pytest.raises(UsageError, match="are the same to"):
            Texts(model=str(folders["clip"]), attributes=pair).open("r", "cpu")

    def test_parses_attributes(self):
        assert parse_attribute("smile=happy; joyful|sad") == (
            "smile",
            (("happy", "joyful"), ("sad",)),
        )
        for wrong in ("smile", "smile=happy", "=a|b", "smile=a|b|c"):
            with pytest.raises(UsageError, match="NAME=what it is"):
                parse_attribute(wrong)

    def test_the_sets_that_ship_are_whole(self):
        assert {"faces", "paintings", "dogs"} <= set(attribute_sets())
        for name in attribute_sets():
            assert Texts(model="m", attributes=attributes_of(name)).attributes

    def test_an_unknown_set_is_refused(self, tmp_path):
        with pytest.raises(UsageError, match="did you mean faces"):
            attributes_of("face")
        (tmp_path / "own.yaml").write_text("smile: [happy, sad]\n")
        assert attributes_of(str(tmp_path / "own.yaml")) == {"smile": (("happy",), ("sad",))}
        (tmp_path / "bad.yaml").write_text("- a\n")
        with pytest.raises(UsageError, match=r"bad\.yaml: expected NAME"):
            attributes_of(str(tmp_path / "bad.yaml"))

    def test_an_image_model_embeds_no_texts(self, folders):
        with pytest.raises(ModelError, match="embeds no texts"):
            Texts(model=str(folders["dinov2"]), attributes=SMILE).open("r", "cpu")

    def test_a_model_that_is_nowhere(self):
        with pytest.raises(ModelError, match="hf download nobody/nothing"):
            Texts(model="nobody/nothing", attributes=SMILE).open("r", "cpu")

    def test_without_a_network_the_hub_is_asked_once(self, monkeypatch):
        """And what transformers would ask for, file by file and again and again, is not."""
        from hcache.readers.pretrained import load

        asked, tried = [], []

        def model_info(_, source, **options):
            asked.append((source, options["revision"]))
            raise OSError("name or service not known")

        def make(where, *, local_files_only, revision=None):
            tried.append(local_files_only)
            raise OSError("not in the cache")

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)
        with pytest.raises(ModelError, match="name or service not known.*hf download owner/clip"):
            load("owner/clip", "v2", "image encoder", make)
        assert asked == [("owner/clip", "v2")] and tried == []

    def test_a_model_in_the_hub_s_cache_is_taken_as_a_folder(self, tmp_path, monkeypatch):
        """transformers would ask the hub for some of an id's files, whatever it is told."""
        from hcache.readers.pretrained import load

        found = tmp_path / "snapshot" / "config.json"
        monkeypatch.setattr(
            "huggingface_hub.try_to_load_from_cache",
            lambda source, name, revision: str(found) if revision == "v2" else None,
        )

        def make(where, **options):
            return where, options

        at = load("owner/clip", "v2", "image encoder", make)
        assert at == (str(found.parent), {"local_files_only": True})

    def test_a_model_that_lacks_a_tensor(self, folders, tmp_path):
        import shutil

        from safetensors.torch import load_file, save_file

        folder = shutil.copytree(folders["clip"], tmp_path / "cut")
        tensors = load_file(folder / "model.safetensors")
        tensors.pop("visual_projection.weight")
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelError, match=r"1 tensors are missing.*visual_projection"):
            Texts(model=str(folder), attributes=SMILE).open("r", "cpu")


class TestClassifier:
    def test_reads_its_labels_as_probabilities(self, folders, pictures):
        found = Classifier(model=str(folders["classifier"])).open("r", "cpu")(pictures)
        assert tuple(found) == NAMES
        np.testing.assert_allclose(sum(found.values()), 1, atol=1e-5)

    def test_reads_chosen_labels_only(self, folders, pictures):
        reader = Classifier(model=str(folders["classifier"]), labels=(NAMES[1],)).open("r", "cpu")
        assert reader.attributes == (NAMES[1],)
        whole = Classifier(model=str(folders["classifier"])).open("r", "cpu")(pictures)
        np.testing.assert_array_equal(reader(pictures)[NAMES[1]], whole[NAMES[1]])

    def test_refuses_labels_that_it_has_not(self, folders):
        with pytest.raises(UsageError, match=f"no label 'smiles'.*{NAMES[0]}"):
            Classifier(model=str(folders["classifier"]), labels=("smiles",)).open("r", "cpu")

    def test_a_thousand_labels_are_to_be_chosen_from(self, tmp_path):
        folder = save_classifier(tmp_path / "many", [f"thing {i}" for i in range(1000)])
        with pytest.raises(UsageError, match="1000 labels; choose those to read with --attribute"):
            Classifier(model=str(folder)).open("r", "cpu")


@pytest.fixture(scope="module")
def planted():
    """Pictures whose upper half is brighter where the label says so."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 80).astype(float)
    images = rng.integers(40, 120, (80, 16, 16, 3)).astype(float)
    images[:, :8] += 60 * labels[:, None, None, None]
    return images.astype(np.uint8), labels


class TestClicks:
    def test_finds_what_is_there(self, planted):
        images, labels = planted
        found = fit_clicks(images[:60], labels[:60], "bright")
        assert found.quality["score"] > 0.95 and found.quality["p"] <= 0.05
        read = found.open("r")(images[60:])["bright"]
        assert ((read > 0.5) == (labels[60:] > 0.5)).mean() > 0.9
        assert read.min() >= 0 and read.max() <= 1

    def test_positives_alone_are_held_against_the_rest(self, planted):
        images, labels = planted
        some = np.where((labels == 1) & (np.arange(80) < 40), 1.0, np.nan)
        read = fit_clicks(images, some, "bright").open("r")(images)["bright"]
        unpicked = np.isnan(some)
        assert read[unpicked & (labels == 1)].mean() > read[unpicked & (labels == 0)].mean() + 0.2

    def test_reads_values(self, planted):
        images, _ = planted
        brightness = images.astype(float).mean((1, 2, 3))
        found = fit_clicks(images[:60], brightness[:60], "brightness")
        assert not found.binary
        read = found.open("r")(images[60:])["brightness"]
        assert np.corrcoef(read, brightness[60:])[0, 1] > 0.95

    def test_refuses_what_is_no_better_than_chance(self, planted):
        images, _ = planted
        refused = 0
        for seed in range(5):
            noise = np.random.default_rng(100 + seed).integers(0, 2, len(images)).astype(float)
            try:
                fit_clicks(images, noise, "nothing")
            except AnalysisError as error:
                refused += 1
                assert "no better than chance" in str(error)
        assert refused >= 4

    def test_refuses_few_or_equal_labels(self, planted):
        images, labels = planted
        with pytest.raises(UsageError, match="8 labelled samples or more, got 3"):
            fit_clicks(images, np.where(np.arange(80) < 3, labels, np.nan), "bright")
        with pytest.raises(UsageError, match="all 80 labelled samples have bright = 1"):
            fit_clicks(images, np.ones(80), "bright")

    @pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2"])
    def test_encoders_embed_pictures(self, folders, planted, kind):
        encoder = load_encoder(str(folders[kind]), device="cpu")
        found = encoder.pictures(planted[0][:7], batch=3)
        assert found.shape[0] == 7 and found.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(found, encoder.pictures(planted[0][:7]), atol=1e-5)

    def test_on_an_encoder_and_back_from_json(self, folders, planted):
        images, labels = planted
        found = fit_clicks(images, labels, "bright", str(folders["dinov2"]), device="cpu")
        again = reader_from_json(json.loads(json.dumps(found.to_json())), "here")
        assert isinstance(again, Clicks) and again.quality == found.quality
        a, b = found.open("r", "cpu"), again.open("r", "cpu")
        assert a.digest == b.digest
        np.testing.assert_array_equal(a(images[:5])["bright"], b(images[:5])["bright"])

    def test_refuses_an_encoder_of_other_weights(self, folders, planted, tmp_path):
        found = fit_clicks(*planted, "bright", str(folders["dinov2"]), device="cpu").to_json()
        other = reader_from_json(
            found | {"encoder": str(save_dinov2(tmp_path / "other", seed=9))}, "here"
        )
        with pytest.raises(UsageError, match="other weights now"):
            other.open("r", "cpu")

    def test_a_damaged_head_is_said(self):
        with pytest.raises(UsageError, match="damaged"):
            reader_from_json(
                {
                    "kind": "clicks",
                    "attribute": "a",
                    "encoder": "e",
                    "quality": {},
                    "head": {"weight": {"shape": [3], "float32": "AA=="}, "bias": [1]},
                },
                "here",
            )


class TestFunction:
    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        (tmp_path / "own_reader.py").write_text(
            "def read(p):\n    return {'mean': p.mean((1, 2, 3))}\n\nn = 3\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        yield "own_reader"
        sys.modules.pop("own_reader", None)

    def test_reads(self, module, pictures):
        reader = Function(target=f"{module}:read").open("mine")
        np.testing.assert_allclose(reader(pictures)["mean"], pictures.mean((1, 2, 3)), rtol=1e-6)

    @pytest.mark.parametrize(
        "target", ["own_reader:nothing", "no_such_module:read", "own_reader:n"]
    )
    def test_what_is_no_function_is_refused(self, module, target):
        with pytest.raises(UsageError, match=f"the reader {target}"):
            Function(target=target).open("mine")

    @pytest.mark.parametrize("target", ["", "module", ":read", "module:"])
    def test_a_path_has_two_parts(self, target):
        with pytest.raises(UsageError, match="package.module:function"):
            Function(target=target)


class TestRuns:
    @pytest.fixture
    def read(self, copied_run, folders):
        """A run that a reader by texts has read, without the help of the command line."""
        home = copied_run.folder.parent.parent
        save_reader(home, "clip", Texts(model=str(folders["clip"]), attributes=SMILE))
        drain(read_run(copied_run, "clip", "cpu", batch=3))
        return open_run(copied_run.folder)

    def test_a_reader_makes_a_label_set(self, read, folders):
        reader = Texts(model=str(folders["clip"]), attributes=SMILE).open("clip", "cpu")
        np.testing.assert_allclose(
            read.labels["clip"]["smile"], reader(read.images)["smile"], atol=1e-5
        )
        assert unread(read, "clip") == 0 and readers_of(read) == ["clip"]
        assert reader_of(read, device="cpu").digest == reader.digest

    def test_reading_again_reads_nothing(self, read, monkeypatch):
        monkeypatch.setattr(
            "hcache.readers.reading.picture_batches",
            lambda run, samples, batch: iter([(s, None) for s in samples]),
        )
        shares, attributes = drain(read_run(read, "clip", "cpu"))
        assert shares == [1.0] and attributes == ["smile"]

    def test_replace_reads_all_again_even_with_the_same_reader(self, read, monkeypatch):
        seen, before = [], Reader.__call__

        def counted(reader, pictures):
            seen.append(len(pictures))
            return before(reader, pictures)

        monkeypatch.setattr(Reader, "__call__", counted)
        old = read.labels["clip"]["smile"]
        drain(read_run(read, "clip", "cpu", replace=True))
        assert sum(seen) == len(read)
        np.testing.assert_allclose(open_run(read.folder).labels["clip"]["smile"], old, atol=1e-5)

    def test_what_was_read_is_kept_when_it_is_stopped(self, copied_run, folders):
        home = copied_run.folder.parent.parent
        save_reader(home, "clip", Texts(model=str(folders["clip"]), attributes=SMILE))
        work = read_run(copied_run, "clip", "cpu", batch=3)
        next(work)
        work.close()
        part = open_run(copied_run.folder)
        assert unread(part, "clip") == len(part) - 3
        drain(read_run(part, "clip", "cpu", batch=3))
        whole = open_run(copied_run.folder)
        assert unread(whole, "clip") == 0
        np.testing.assert_array_equal(
            whole.labels["clip"]["smile"][:3], part.labels["clip"]["smile"][:3]
        )

    def test_another_version_of_itself_replaces_only_when_told(self, read, folders):
        home = read.folder.parent.parent
        other = Texts(model=str(folders["siglip"]), attributes=SMILE)
        with pytest.raises(UsageError, match="another reader named clip"):
            save_reader(home, "clip", other)
        save_reader(home, "clip", other, replace=True)
        with pytest.raises(UsageError, match="another version"):
            drain(read_run(read, "clip", "cpu"))
        drain(read_run(read, "clip", "cpu", replace=True))
        expected = other.open("clip", "cpu")(read.images)["smile"]
        np.testing.assert_allclose(
            open_run(read.folder).labels["clip"]["smile"], expected, atol=1e-5
        )

    def test_labels_of_one_s_own_are_not_overwritten(self, copied_run, folders):
        save_labels(copied_run, "clip", {"smile": {0: 1.0}})
        save_reader(
            copied_run.folder.parent.parent,
            "clip",
            Texts(model=str(folders["clip"]), attributes=SMILE),
        )
        with pytest.raises(UsageError, match="did not make"):
            drain(read_run(copied_run, "clip", "cpu"))
        assert open_run(copied_run.folder).labels["clip"]["smile"][0] == 1

    def test_only_readers_of_the_home_are_opened(self, read):
        """A run may come from anybody: what it says of its readers runs nothing."""
        delete_reader(read.folder.parent.parent, "clip")
        note = read.folder / "readers" / "clip.json"
        note.write_text(
            json.dumps(
                json.loads(note.read_text())
                | {"description": {"kind": "function", "target": "os:abort"}}
            )
        )
        assert readers_of(read) == [] and reader_of(read) is None
        with pytest.raises(UsageError, match="no reader of"):
            reader_of(read, "clip")

    @pytest.mark.parametrize(
        "text",
        ["", "{}", "[]", '{"schema": 1, "kind": "nothing"}', '{"schema": 1, "kind": "texts"}'],
    )
    def test_a_damaged_reader_is_named(self, read, text):
        home = read.folder.parent.parent
        (home / "readers" / "clip.json").write_text(text)
        with pytest.raises((UsageError, OSError), match=r"clip\.json"):
            load_description(home, "clip")

    @pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden"])
    def test_names_stay_inside(self, read, name):
        with pytest.raises(UsageError):
            open_saved(read.folder.parent.parent, name)
        with pytest.raises(UsageError):
            save_reader(read.folder.parent.parent, name, Texts(model="m", attributes=SMILE))


class TestCommands:
    def test_read_by_texts(self, copied_run, folders, capsys, tmp_path):
        home = str(copied_run.folder.parent.parent)
        reader, own = f"texts:{folders['clip']}", tmp_path / "own.yaml"
        own.write_text(
            "happy: [a happy dog with its mouth open, a calm dog with its mouth closed]\n"
        )
        described = [
            "--name",
            "mine",
            "--attribute",
            "smile=a happy face|a sad face",
            "--attributes",
            str(own),
        ]
        assert (
            main(
                ["read", copied_run.name, "--home", home, "--reader", reader, *described, "--json"]
            )
            == 0
        )
        said = json.loads(capsys.readouterr().out)
        assert said["samples"] == len(copied_run) and {"smile", "happy"} <= set(said["attributes"])
        assert set(open_run(copied_run.folder).labels["mine"]) == set(said["attributes"])
        assert main(["read", copied_run.name, "--home", home, "--reader", "mine", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["samples"] == 0
        assert main(["reader", "list", "--home", home]) == 0
        assert "mine" in capsys.readouterr().out
        assert main(["reader", "delete", "mine", "--home", home]) == 0
        assert "mine" not in list_readers(copied_run.folder.parent.parent)

    def test_read_by_a_classifier(self, copied_run, folders):
        home = str(copied_run.folder.parent.parent)
        assert (
            main(
                [
                    "read",
                    copied_run.name,
                    "--home",
                    home,
                    "--reader",
                    f"classifier:{folders['classifier']}",
                ]
            )
            == 0
        )
        assert tuple(open_run(copied_run.folder).labels["classifier"]) == NAMES

    def test_read_by_clicks_says_how_well(self, copied_run, capsys, monkeypatch):
        """What the command prints of a head; that heads find what is there is tested above, on
        more pictures.
        """
        home = str(copied_run.folder.parent.parent)
        brightness = copied_run.images.mean((1, 2, 3))
        save_labels(copied_run, "own", {"bright": dict(enumerate(map(float, brightness)))})
        monkeypatch.setattr(
            "hcache.readers.clicks.WORST_P", 1.0
        )  # 12 pictures are too few to be better than chance
        assert (
            main(["read", copied_run.name, "--home", home, "--reader", "clicks:bright", "--json"])
            == 0
        )
        said = json.loads(capsys.readouterr().out)
        assert said["reader"] == "bright-clicks" and said["attributes"] == ["bright"]
        assert said["quality"]["embedding"] == "principal components of the pixels"
        assert said["quality"]["samples"] == len(copied_run) and said["quality"]["p"] <= 1

    def test_small_pictures_and_attributes_of_one_value_are_told(
        self, copied_run, capsys, tmp_path, folders
    ):
        """The run's pictures have 16 x 16 pixels. Nothing that can be measured is refused."""
        from reader_models import save_classifier

        home = ("--home", str(copied_run.folder.parent.parent))
        large = save_classifier(tmp_path / "large", image_size=32)
        read = ["read", copied_run.name, *home, "--reader"]
        assert main([*read, f"classifier:{large}", "--attribute", "cat"]) == 0
        assert "pictures of 16 x 16 are smaller than the 32 x 32 that large reads" in (
            capsys.readouterr().out
        )
        assert main([*read, f"classifier:{folders['classifier']}", "--attribute", "cat"]) == 0
        assert "smaller than" not in capsys.readouterr().out
        one = dict.fromkeys(copied_run.sample_ids.tolist(), 0.5)
        light = copied_run.images.mean((1, 2, 3)).tolist()
        save_labels(
            copied_run,
            "own",
            {"same": one, "light": dict(zip(copied_run.sample_ids.tolist(), light, strict=True))},
        )
        measure = ["measure", copied_run.name, *home, "--what", "decodability", "--label"]
        assert main([*measure, "own/same"]) == 2
        err = capsys.readouterr().err
        assert "own/same is 0.5 in all samples" in err and len(err.strip().splitlines()) == 1

    @pytest.mark.parametrize(
        ("reader", "said"),
        [
            ("nonsense:x", "--reader takes texts:MODEL"),
            ("unheard", "no reader 'unheard'"),
            ("texts:", "--reader takes texts:MODEL"),
            ("function:os", "package.module:function"),
            ("clicks:nothing", "no label 'nothing'"),
        ],
    )
    def test_bad_readers_are_refused_in_one_line(self, copied_run, capsys, reader, said):
        home = str(copied_run.folder.parent.parent)
        arguments = ["read", copied_run.name, "--home", home, "--reader", reader]
        assert main(arguments + (["--attribute", "a=b|c"] if reader == "texts:" else [])) in (1, 2)
        err = capsys.readouterr().err.strip()
        assert said in err and "Traceback" not in err


class TestCards:
    def test_the_sets_that_cards_name_are_there(self):
        from hcache.cards import load_cards

        named = {name: card.attributes for name, card in load_cards().items() if card.attributes}
        assert set(named.values()) <= set(attribute_sets())
        assert named["adm-afhq-dog"] == "dogs"
        assert named["google/ddpm-ema-celebahq-256"] == "faces"

    def test_a_card_chooses_the_attributes_unless_one_is_given(
        self, copied_run, tmp_path, monkeypatch
    ):
        from hcache.cli.readers import describe

        with pytest.raises(UsageError, match="at least one attribute"):
            describe(copied_run, "texts", "owner/clip")
        cards = tmp_path / "cards.yaml"
        cards.write_text(json.dumps({copied_run.spec.model: {"source": "", "attributes": "dogs"}}))
        monkeypatch.setenv("HCACHE_CARDS", str(cards))
        found = describe(copied_run, "texts", "owner/clip")
        assert set(found.attributes) == set(attribute_sets()["dogs"])
        own = describe(copied_run, "texts", "owner/clip", ["happy=a happy dog|a sad dog"])
        assert set(own.attributes) == {"happy"}
