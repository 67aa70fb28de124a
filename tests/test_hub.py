"""Models on the hub, by a local stand-in for its API: what is downloaded, and what a broken
download leaves.
"""

import pytest
import torch
from hub_server import COMMIT, Hub
from kinds import save_kind
from tiny import make_unet, save_pipeline

from hcache.cards import find_card
from hcache.errors import ModelError
from hcache.models import weight_files
from hcache.models.hub import folder_of, wanted_files
from hcache.models.loading import load_anatomy, load_model
from hcache.models.weight_files import choose_weights, weights_in

REPO = "lab/faces"


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def ldm(tmp_path_factory):
    """The files of a tiny latent diffusion model, each part's weights as safetensors."""
    return files_of(save_kind("LDM", tmp_path_factory.mktemp("ldm")))


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serves files as a repository, with a cache that holds nothing."""
    from huggingface_hub import constants

    servers = []

    def start(files):
        server = Hub(REPO, files)
        servers.append(server)
        template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", server.address),
            ("HF_HUB_OFFLINE", False),
            ("HF_HUB_CACHE", str(tmp_path / f"cache{len(servers)}")),
            ("HUGGINGFACE_CO_URL_TEMPLATE", template),
            ("HF_HUB_DISABLE_XET", True),
        ):
            monkeypatch.setattr(constants, name, value)
        from huggingface_hub import hf_api

        monkeypatch.setattr(hf_api.api, "endpoint", server.address)
        return server

    weight_files.say_once.cache_clear()
    yield start
    for server in servers:
        server.stop()


def as_bin(files, name):
    """The same weights as a pickle."""
    import io

    from safetensors.torch import load

    out = io.BytesIO()
    torch.save(load(files[name]), out)
    return out.getvalue()


UNET, VQVAE = (
    "unet/diffusion_pytorch_model.safetensors",
    "vqvae/diffusion_pytorch_model.safetensors",
)


def test_a_model_is_downloaded_once_and_found_without_asking(serve, ldm):
    server = serve({**ldm, "README.md": b"x", "sample.png": b"x"})
    model = load_model(REPO)
    assert model.revision == COMMIT and sorted(server.asked) == sorted(ldm)
    server.stop()
    assert load_model(REPO).anatomy == model.anatomy


def test_a_download_that_broke_off_at_any_file_is_completed(serve, ldm, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    for name in sorted(ldm):
        server = serve(ldm)
        server.fail_at = name
        with pytest.raises(ModelError, match="could not be downloaded to its end"):
            folder_of(find_card(REPO))
        server.fail_at = None
        folder = folder_of(find_card(REPO))
        assert files_of(folder) == ldm, name


@pytest.mark.parametrize("gone", [UNET, VQVAE, "unet/config.json", "vqvae/config.json"])
def test_what_a_cache_lacks_is_fetched_and_without_a_network_named(gone, serve, ldm, monkeypatch):
    server = serve(ldm)
    folder = folder_of(find_card(REPO))
    (folder / gone).unlink()
    server.asked.clear()
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="lab/faces.*hf download"):
        folder_of(find_card(REPO))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert files_of(folder_of(find_card(REPO))) == ldm
    assert set(server.asked) <= {gone}


def test_a_cache_that_another_program_filled_with_half_precision_is_not_the_model(serve, ldm):
    files = {**ldm, "unet/diffusion_pytorch_model.fp16.safetensors": ldm[UNET]}
    serve(files)
    from huggingface_hub import snapshot_download

    folder = snapshot_download(REPO, allow_patterns=["*.json", "*/*.json", "*.fp16.safetensors"])
    assert folder
    assert load_model(REPO).network is not None
    assert weights_in(folder_of(find_card(REPO)) / "vqvae")


def test_weights_that_are_there_twice_are_downloaded_once(serve, ldm):
    files = {
        **ldm,
        "unet/diffusion_pytorch_model.bin": as_bin(ldm, UNET),
        "vqvae/diffusion_pytorch_model.bin": as_bin(ldm, VQVAE),
        "unet/diffusion_pytorch_model.fp16.safetensors": ldm[UNET],
        "unet/diffusion_pytorch_model.non_ema.safetensors": ldm[UNET],
        "safety_checker/model.safetensors": b"x",
        "v1-5-pruned.ckpt": b"x",
    }
    server = serve(files)
    load_model(REPO)
    assert sorted(server.asked) == sorted(ldm)


def test_pickled_weights_are_read_with_one_word_of_it_and_nothing_of_diffusers(
    serve, ldm, caplog, capfd
):
    files = {name: data for name, data in ldm.items() if name not in (UNET, VQVAE)}
    files |= {
        "unet/diffusion_pytorch_model.bin": as_bin(ldm, UNET),
        "vqvae/diffusion_pytorch_model.bin": as_bin(ldm, VQVAE),
    }
    serve(files)
    model = load_model(REPO)
    said = caplog.text + "".join(capfd.readouterr())
    assert "unsafe serialization" not in said and "An error occurred" not in said
    assert "weights_only" in said
    from diffusers import UNet2DModel

    expected = UNet2DModel.from_config(model.network.config)
    from safetensors.torch import load

    expected.load_state_dict(load(ldm[UNET]))
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.network.parameters(), expected.parameters(), strict=True)
    )


def test_half_precision_is_taken_where_there_is_nothing_else_and_said(serve, ldm, caplog):
    files = {name.replace(".safetensors", ".fp16.safetensors"): data for name, data in ldm.items()}
    serve(files)
    assert load_model(REPO).network is not None
    assert "fp16" in caplog.text


def test_shards_with_an_index_are_downloaded_and_completed(serve, ldm, tmp_path):
    unet = make_unet()
    unet.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    shards = {f"unet/{name}": data for name, data in files_of(tmp_path / "sharded").items()}
    assert len(shards) > 4, "several, and an index"
    files = {name: data for name, data in ldm.items() if not name.startswith("unet/")} | shards
    server = serve(files)
    folder = folder_of(find_card(REPO))
    assert files_of(folder) == files
    second = next(folder.glob("unet/*-00002-of-*"))
    second.resolve().unlink()
    second.unlink()
    server.asked.clear()
    found = load_model(REPO).network
    assert server.asked == [name for name in shards if "-00002-of-" in name]
    assert all(
        torch.equal(a, b) for a, b in zip(found.parameters(), unet.parameters(), strict=True)
    )


def test_an_anatomy_never_downloads_weights(serve, ldm):
    server = serve(ldm)
    assert load_anatomy(REPO).h
    assert server.asked and not any("safetensors" in name for name in server.asked)
    load_model(REPO)
    assert sorted(server.asked) == sorted(ldm), "and nothing comes twice"


def test_an_old_repository_with_its_network_in_the_root(serve, tmp_path):
    """As google/ddpm-ema-celebahq-256 lies on the hub: all in the root, weights as .bin and as
    safetensors.
    """
    folder = save_pipeline(tmp_path / "old", make_unet())
    files = files_of(folder)
    old = {
        name.removeprefix("unet/").removeprefix("scheduler/"): data for name, data in files.items()
    }
    old["diffusion_pytorch_model.bin"] = as_bin(files, UNET)
    server = serve(old)
    assert load_model(REPO).anatomy == load_anatomy(str(folder))
    assert "diffusion_pytorch_model.bin" not in server.asked


def test_what_the_hub_does_not_have_is_refused_in_words(serve, ldm, monkeypatch):
    serve(ldm)
    with pytest.raises(ModelError, match="lab/nothing on the hub"):
        load_model("lab/nothing")
    with pytest.raises(ModelError, match="lab/nothing on the hub"):
        load_anatomy("lab/nothing")
    serve({name: data for name, data in ldm.items() if name != UNET})
    with pytest.raises(ModelError, match="lacks the weights of its unet"):
        load_model(REPO)


def test_one_set_of_weights_is_chosen_among_files():
    whole = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    index = "model.safetensors.index.json"
    cases = {
        (
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.safetensors",
        ): "diffusion_pytorch_model.safetensors",
        (
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model.fp16.safetensors",
        ): "diffusion_pytorch_model.bin",
        ("pytorch_model.fp16.bin",): "pytorch_model.fp16.bin",
        (*whole, index): whole[0],
        (whole[0], index): None,
        (*whole,): None,
        ("diffusion_pytorch_model.non_ema.safetensors",): None,
        ("diffusion_flax_model.msgpack", "config.json"): None,
    }
    for names, expected in cases.items():
        found = choose_weights(names)
        assert (found.files[0] if found else None) == expected, names
    assert choose_weights([*whole, index]).names == (*whole, index)
    variant = [f"diffusion_pytorch_model.fp16-0000{k}-of-00002.safetensors" for k in (1, 2)]
    found = choose_weights([*variant, "diffusion_pytorch_model.safetensors.index.fp16.json"])
    assert found.variant == "fp16" and len(found.names) == 3


def test_single_files_and_other_formats_are_not_wanted():
    names = [
        "model_index.json",
        "v1-5-pruned.safetensors",
        "unet/config.json",
        "unet/model.onnx",
        "vae/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "image.png",
    ]
    left = {
        "v1-5-pruned.safetensors",
        "unet/model.onnx",
        "text_encoder/model.fp16.safetensors",
        "image.png",
    }
    assert set(wanted_files(names)) == set(names) - left


LORA = "pytorch_lora_weights.safetensors"


def lora_bytes(value):
    from safetensors.torch import save

    place = "unet.mid_block.attentions.0.to_q"
    return save({f"{place}.lora_{m}.weight": torch.full((2, 2), value) for m in "AB"})


def test_a_lora_by_hub_id_is_one_file_downloaded_once(serve):
    import hashlib

    from hcache.loras import find_lora

    data = lora_bytes(1.0)
    server = serve({LORA: data, "README.md": b"x", "sample.png": b"x"})
    found = find_lora(f"{REPO}:0.8")
    assert server.asked == [LORA] and found.scale == 0.8
    assert found.sha256 == hashlib.sha256(data).hexdigest()
    assert found.file.endswith(LORA) and COMMIT in found.file, "the loader goes by the suffix"
    server.stop()
    assert find_lora(REPO).sha256 == found.sha256
    assert find_lora(f"{REPO}:0.8", download=False) == found


def test_a_lora_under_another_name_is_found_where_it_is_the_only_one(serve):
    from hcache.loras import find_lora

    server = serve({"style.safetensors": lora_bytes(2.0), "README.md": b"x"})
    found = find_lora(f"{REPO}@main")
    assert found.file.endswith("style.safetensors") and found.scale == 1
    assert server.asked == ["style.safetensors"]


def test_a_lora_that_is_not_to_be_had_is_refused_in_one_line(serve, monkeypatch):
    from huggingface_hub import constants

    from hcache.errors import UsageError
    from hcache.loras import find_lora

    server = serve({"a.safetensors": lora_bytes(1.0), "b.safetensors": lora_bytes(2.0)})
    refusals = {
        REPO: (UsageError, f"{REPO} on the hub must hold {LORA}.*a.safetensors, b.safetensors"),
        "lab/nothing": (ModelError, "the LoRA lab/nothing cannot be had from the hub"),
        "lab/nothing/style.safetensors": (UsageError, "there is no LoRA at"),
        "lab/style.safetensors": (UsageError, "there is no LoRA at"),
    }
    for text, (kind, words) in refusals.items():
        with pytest.raises(kind, match=words) as caught:
            find_lora(text)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="not in the local hub cache.*hf download lab/other"):
        find_lora("lab/other", download=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="and cannot be downloaded now"):
        find_lora("lab/another")
    assert server.asked == [], "nothing was downloaded in vain"
