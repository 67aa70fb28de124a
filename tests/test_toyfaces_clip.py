"""The small CLIP of drawn faces: captions say what the factors are, and what is saved trains
Asyrp's blocks.
"""

import json

import numpy as np
import pytest
import torch

from hcache.directions.asyrp_clip import TEMPLATES, directional_loss, load_clip
from hcache.toyfaces import clip
from hcache.toyfaces.drawing import draw_dataset
from hcache.toyfaces.factors import NAMES, Face


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    network, tokenizer = clip.make_clip(0)
    clip.save_clip(network, tokenizer, folder)
    return folder


def sides(face):
    return clip.sides_of(torch.from_numpy(face.as_array()[None]))


def test_captions_say_what_the_factors_are():
    face = Face(smile=1, yaw=-0.9, hair_colour=0.95, glasses=1)
    named = dict(zip(NAMES, sides(face)[0].tolist(), strict=True))
    assert (
        clip.caption({**named, "eye_opening": 0})
        == "smiling face looking left, with light skin, with black hair, with glasses"
    )
    assert clip.caption({"smile": 0}) == "face" and clip.caption({"smile": -1}) == "frowning face"
    assert clip.ends("glasses") == ("face without glasses", "face with glasses")
    assert sides(Face())[0].tolist()[:2] == [0, 0], "nothing is said of the middle"


def test_what_is_true_of_a_face_is_known():
    faces = torch.cat(
        [sides(Face(smile=1, glasses=1)), sides(Face(smile=-1, glasses=1)), sides(Face())]
    )
    named = torch.zeros(3, len(NAMES), dtype=torch.long)
    named[1, NAMES.index("smile")] = 1
    named[2, NAMES.index("smile")], named[2, NAMES.index("glasses")] = -1, 1
    wanted = [[True, True, False], [True, False, True], [True, False, False]]
    assert clip.truth(faces, named).tolist() == wanted


def test_a_captions_own_face_is_one_that_it_is_true_of_and_short_ones_are_common():
    rng = torch.Generator().manual_seed(0)
    seen = clip.sides_of(2 * torch.rand(400, len(NAMES), generator=rng) - 1)
    named = clip.named_of(seen, rng)
    assert clip.truth(seen, named).diagonal().all()
    counts = (named != 0).sum(1)
    assert (
        (counts == 0).float().mean() > 0.1
        and (counts == 1).float().mean() > 0.1
        and counts.max() >= 6
    )


def test_the_loss_is_clips_own_where_each_text_is_true_of_one_picture():
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    cross = torch.nn.functional.cross_entropy
    own = (cross(logits, torch.arange(5)) + cross(logits.T, torch.arange(5))) / 2
    torch.testing.assert_close(clip.contrastive_loss(logits, torch.eye(5).bool()), own)
    both = torch.tensor([[True, True], [False, True]])
    found = clip.contrastive_loss(torch.tensor([[9.0, 9.0], [-9.0, 9.0]]), both)
    assert found == pytest.approx(np.log(2) / 2, abs=1e-3), (
        "half of it is that two texts share a picture, or two"
    )


def test_every_word_is_one_piece_and_the_longest_caption_fits():
    _, tokenizer = clip.make_clip(0)
    everything = clip.caption(dict.fromkeys(NAMES, 1))
    for form in TEMPLATES:
        pieces = tokenizer.tokenize(form.format(everything))
        words = form.format(everything).replace(",", " ,").replace("-", " - ").split()
        assert [piece.removesuffix("</w>") for piece in pieces] == words
        assert len(pieces) + 2 <= clip.LONGEST


def test_what_is_saved_loads_for_asyrp_with_its_colours(saved):
    made = load_clip(str(saved), torch.device("cpu"))
    assert made.mean.flatten().tolist() == made.std.flatten().tolist() == [0.5] * 3
    pictures = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    text = made.direction(*clip.ends("smile"))
    edited = pictures.clone().requires_grad_()
    loss = directional_loss(made.pictures(edited * 0.9), made.pictures(pictures), text)
    loss.backward()
    assert 0 < float(loss.detach()) < 2 and edited.grad.abs().max() > 0


def test_training_lowers_the_loss_is_seeded_and_ends_in_a_folder(tmp_path, monkeypatch, capsys):
    images, factors = draw_dataset(range(16))
    data = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(factors)
    monkeypatch.setattr(clip, "render", lambda count: data)

    def loss_of(folder):
        made = load_clip(str(folder), torch.device("cpu"))
        return float(
            clip.clip_loss(made.network, made.tokenizer)(*data, torch.Generator().manual_seed(5))
        )

    digests = []
    for name, steps in (("short", 2), ("again", 2), ("long", 20)):
        clip.main(
            [
                "--work",
                str(tmp_path / f"work {name}"),
                "--out",
                str(tmp_path / name),
                "--steps",
                str(steps),
                "--batch",
                "16",
                "--unseen",
                "30",
            ]
        )
        found = json.loads(capsys.readouterr().out)
        assert found.keys() == set(NAMES) and all(0 < one["count"] <= 30 for one in found.values())
        digests.append((tmp_path / name / "model.safetensors").read_bytes())
    assert loss_of(tmp_path / "long") < 0.97 * loss_of(tmp_path / "short")
    assert digests[0] == digests[1] != digests[2]


def test_texts_are_told_apart_by_the_nearer_one():
    """A CLIP that sees how bright a picture is, and for which black hair is bright: right for
    those alone.
    """

    class Bright:
        def pictures(self, pictures):
            return pictures.mean((1, 2, 3))[:, None]

        def direction(self, source, target):
            return torch.tensor([1.0 if target == clip.ends("hair_colour")[1] else -1.0])

    images = np.stack([np.full((64, 64, 3), value, np.uint8) for value in (0, 250, 250, 10)])
    values = {name: np.array([0.0, 1.0, 0.5, 0.9], np.float32) for name in NAMES}
    found = clip.told_apart(Bright(), images, values, ["hair_colour", "hair_length"])
    assert found["hair_colour"] == {"share": pytest.approx(2 / 3), "count": 3}
    assert found["hair_length"] == {"share": pytest.approx(1 / 3), "count": 3}
