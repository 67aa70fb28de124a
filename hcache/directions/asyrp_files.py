"""Reads the attribute files published with Asyrp, such as
``smiling_LC_CelebA_HQ_t999_ninv40_ngen40_0.pth``.

A file is a dictionary saved by torch. It has the state dict of the block under "0", and those of
the optimiser and the scheduler, which are not needed. (A training of several blocks at once numbers
them; the published code trains and applies the first.) A plain state dict is read as well, and one
that contains the block as part of a whole network, as ``layer_0``. Files are read as tensors only,
and no pickle is executed.

The number of denoising steps that a block was trained along is only in the file's name, after
``ngen``. If it is missing, 40 is used.

References:
    Diffusion Models already have a Semantic Latent Space (Kwon, Jeong, Uh, 2022),
        https://arxiv.org/abs/2210.10960
    Its code and files, https://github.com/kwonminki/Asyrp_official
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..cache.reading import Run
from ..errors import AnalysisError, ModelError, UsageError
from .asyrp_block import ADM, GROUPS, LAYERS, PLAIN, Block, BlockMove, in_run_units

if TYPE_CHECKING:
    from ..models.model import Model

IMPORTED = "asyrp-import"
"""The method of an imported block in ``made_by``. It is not a method, because its files are needed
to make it again.
"""

TRAINED_STEPS = 40


class Trained(NamedTuple):
    """The intended use of a published block.

    It has the card of a model of the same architecture, the kind of its blocks, the model in words,
    and the file with the weights that the block was trained on.
    """

    card: str
    kind: str
    told: str
    file: str


TRAINED_ON = {
    "CelebA_HQ": Trained(
        "google/ddpm-ema-celebahq-256",
        PLAIN,
        "the original DDPM model of CelebA-HQ, celeba_hq.ckpt",
        "celeba_hq.ckpt",
    ),
    "church_outdoor": Trained(
        "google/ddpm-ema-church-256",
        PLAIN,
        "the original DDPM model of LSUN churches, church_outdoor.ckpt",
        "church_outdoor.ckpt",
    ),
    "bedroom": Trained(
        "google/ddpm-ema-bedroom-256",
        PLAIN,
        "the original DDPM model of LSUN bedrooms, bedroom.ckpt",
        "bedroom.ckpt",
    ),
    "metfaces": Trained(
        "adm-metfaces", ADM, "the ADM model of MetFaces, metface_p2.pt", "metface_p2.pt"
    ),
    "dog": Trained(
        "adm-afhq-dog", ADM, "the ADM model of AFHQ-Dog, afhq_dog_4m.pt", "afhq_dog_4m.pt"
    ),
}
"""The intended uses, by the word for the data set in a published file's name."""


def weights_note(paths: Sequence[Path], model: str, trained_on: str = "") -> str:
    """Returns which weights blocks were trained on.

    The text says that the weights of a run may differ. A block fits every network of the same
    architecture, but its edit has the intended effect only with one set of weights.

    Args:
        paths: The blocks' files. Their names may contain the data set.
        model: The run's model.
        trained_on: The user's statement, which overrides the names.
    """
    known = TRAINED_ON.get(trained_on)
    if trained_on and known is None:
        if trained_on == model:
            return ""
        return (
            f"trained on the weights of {trained_on}, as was said; this run is of {model}: the edit"
            " is only known to mean what it is named after on those weights"
        )
    found = [known] if known else [each for each in map(_trained_on, paths) if each]
    files = dict.fromkeys(each.file for each in found)
    if not files:
        return (
            "the files do not say which weights their blocks were trained on; give --trained-on"
            " if you know them"
        )
    plain = [file for file in files if file.endswith(".ckpt")]
    how = "convert-ddpm" if plain else "convert-adm"
    return (
        f"trained on the weights of {' and '.join(files)}; this run is of {model}, which has the"
        " same form and may have other weights"
        + (" (the models google/ddpm-ema-... have)" if plain else "")
        + ": the edit is only known to be the published one on a model made from that file by"
        f" `python -m hcache {how}`"
    )


def import_blocks(paths: Sequence[Path], run: Run, model: Model, trained_on: str = "") -> BlockMove:
    """Imports published attribute files as one move.

    Each file is an attribute. The move has unit length on a run.

    Args:
        paths: One or more files.
        run: A run of the model that the blocks were trained on. It stores ``h`` in full, for 2
            samples or more.
        model: The run's model.
        trained_on: The weights that the blocks were trained on, if the files' names do not contain
            them: a name in ``TRAINED_ON``, or any words.

    Raises:
        UsageError: there are no files, or one is missing.
        ModelError: a file cannot be read as tensors, or contains no such block.
        AnalysisError: the blocks are for another model.
    """
    if not paths:
        raise UsageError("give one attribute file or more to import")
    model.anatomy.need_unet("an attribute block")
    told = {path: TRAINED_ON.get(trained_on) or _trained_on(path) for path in paths}
    for path, found in told.items():
        _check_family(path, found, model)
    blocks = [read_block(path) for path in paths]
    trained = [trained_steps(path) for path in paths]
    models = dict.fromkeys(found.told for found in told.values() if found)
    if trained_on and trained_on not in TRAINED_ON:
        models = {trained_on: None}
    made_by = {
        "method": IMPORTED,
        "run": run.name,
        "files": [
            {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in paths
        ],
        "trained_steps": trained,
        "trained_on": ", ".join(models),
        "weights": weights_note(paths, run.spec.model, trained_on),
    }
    published = [n / run.spec.steps / len(paths) ** 0.5 for n in trained]
    return in_run_units(blocks, published, run, model, made_by)


def trained_steps(path: Path) -> int:
    """Returns how many steps a file's block was trained along."""
    found = re.search(r"ngen(\d+)", path.name)
    return int(found[1]) if found and int(found[1]) else TRAINED_STEPS


def read_block(path: Path) -> Block:
    """Reads the block of one file, of either kind.

    Raises:
        UsageError: there is no such file.
        ModelError: it cannot be read as tensors, or contains a block of neither kind.
    """
    weights = _state(_read(path))
    shapes = {name: tuple(getattr(tensor, "shape", ())) for name, tensor in weights.items()}
    for layers in LAYERS.values():
        c, d = (shapes.get(f"{layers.time}.weight", ()) + (0, 0))[:2]
        if shapes == layers.shapes(c, d):
            break
    else:
        raise ModelError(_misfit(path, shapes))
    if c % GROUPS:
        raise ModelError(
            f"{path} holds a block of {c} channels, which do not divide into the {GROUPS} groups of"
            " its norms; expected one as Asyrp's code saves it"
        )
    arrays = {
        name: np.ascontiguousarray(tensor.float().numpy()) for name, tensor in weights.items()
    }
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelError(
            f"{path} contains weights that are not finite, so its training failed; use another file"
        )
    return Block(weights=arrays)


def _read(path: Path) -> Mapping[Any, Any]:
    from ..models.states import read_tensors

    data = read_tensors(path)
    if not isinstance(data, Mapping):
        raise ModelError(
            f"{path} holds a {type(data).__name__}; expected a dictionary with the block's tensors"
            " at '0'"
        )
    return data


def _state(data: Mapping[Any, Any]) -> dict[str, Any]:
    """Returns the block's own tensors, by their names in the block."""
    for key in ("0", 0, "state_dict"):
        if isinstance(data.get(key), Mapping):
            data = data[key]
    names = {re.sub(r"^(module|model)\.", "", str(name)): tensor for name, tensor in data.items()}
    inside = {
        name.removeprefix("layer_0."): tensor
        for name, tensor in names.items()
        if name.startswith("layer_0.")
    }
    return {
        name: tensor.detach() if hasattr(tensor, "detach") else tensor
        for name, tensor in (inside or names).items()
    }


def _misfit(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    kinds = " or ".join(
        f"{', '.join(layers.shapes(0, 0))} ({kind})" for kind, layers in LAYERS.items()
    )
    came = ", ".join(
        f"{name} {'x'.join(map(str, shape)) or '-'}" for name, shape in list(shapes.items())[:6]
    )
    more = f" and {len(shapes) - 6} more" if len(shapes) > 6 else ""
    return (
        f"{path} holds no attribute block of Asyrp: expected, at '0', the tensors {kinds},"
        f" convolutions 1x1 and all of one width; got {came or 'nothing'}{more}"
    )


def _trained_on(path: Path) -> Trained | None:
    """Returns the intended use of a block from a published file's name, or None if the name does
    not say.
    """
    return next((found for data, found in TRAINED_ON.items() if f"_LC_{data}_" in path.name), None)


def _check_family(path: Path, found: Trained | None, model: Model) -> None:
    """Makes sure that a block belongs to the model's family. All published blocks have the same
    widths, so a block of another model would otherwise be accepted.
    """
    ours = ADM if model.network.config.get("resnet_time_scale_shift") == "scale_shift" else PLAIN
    if found and found.kind != ours:
        raise AnalysisError(
            f"{path.name} is for {found.told}, and {model.card.name} is another kind of U-Net;"
            " import it into a run of that"
        )
    if (
        found
        and model.card.name != found.card
        and model.card.name in {other.card for other in TRAINED_ON.values()}
    ):
        raise AnalysisError(
            f"{path.name} is for {found.told}, and this run is of {model.card.name}; import it into"
            " a run of that"
        )
