"""Requests as frozen data: sites, storage policies, runs. It uses no torch and no files."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from .errors import NoUNetError, UnknownSiteError, UsageError, did_you_mean

Side = Annotated[int, Meta(ge=1, le=10**6)]
Shape = tuple[Side, Side, Side]
"""Channels, height, width; for pictures height, width, channels."""

FULL, POOLED, NONE = "full", "pooled", "none"
POLICIES = (FULL, POOLED, NONE)
STORE_DTYPES = ("float16", "float32")

ATTENTION = "attention"
"""The name under which cross-attention maps are stored."""

NEXT, DIFFUSERS, BEFORE = "next", "diffusers", "before"
PlaceName = Annotated[
    str,
    Meta(
        pattern=r"^((down|up)\.[0-9]{1,3}(\.resnet\.[0-9]{1,3})?|mid\.(attn|resnet\.[0-9]{1,3}))$(?!\n)",
        description=(
            "down.<k>, mid.attn or up.<k>, or a single resnet: down.<k>.resnet.<j>, mid.resnet.<j>"
            " or up.<k>.resnet.<j>"
        ),
    ),
]
SCHEDULES = (NEXT, DIFFUSERS)
"""The noise level where a denoising step ends. ``next``: that of the next timestep. ``diffusers``:
that of t minus (trained steps) // steps, as in diffusers' DDIM. The two differ unless the timesteps
have this distance. Runs from before there was a choice have ``before``: they were made with
``diffusers``, and keep their names.
"""


DDIM, NULL_TEXT = "ddim", "null-text"
INVERSIONS = (DDIM, NULL_TEXT)
"""How real pictures are inverted: with the condition of the run, or without guidance and with the
encoded negative prompt optimised for every sample and step. See
:mod:`hcache.sampling.null_text`.
"""


def _family(site: str) -> str:
    """Returns a site's name without its number."""
    return site.rpartition(".")[0]


def is_place(site: str) -> bool:
    """Returns whether a site is neither h nor a skip.

    Such a place lies inside a half of a U-Net, or is a transformer's block. It is read and changed
    while the network runs.
    """
    return site.partition(".")[0] in ("down", "mid", "up", "block")


@dataclass(frozen=True, order=True)
class Member:
    """One skip tensor.

    It is the ``index``-th, in order of consumption, that up block ``group - 1`` takes.
    """

    group: int
    index: int

    def __str__(self) -> str:
        return f"skip.{self.group}.{self.index}"


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """A model's sites and their shapes (c, h, w), without the batch.

    ``h`` is the bottleneck: the output of the whole mid block. ``skips[g - 1]`` are the shapes of
    skip group ``g``, numbered from the bottleneck outward, in the order in which the up block
    consumes them. A model without a U-Net has no ``h`` and no skips, and ``without`` gives the
    reason. ``blocks[k]`` is then the shape of the output of transformer block k, with the image
    tokens only, laid out as a picture with channels. It is not h.

    ``others`` are more places of a U-Net. ``down.<k>`` and ``up.<k>`` are the outputs of diffusers'
    ``down_blocks[k]`` and ``up_blocks[k]``, and ``mid.attn`` is the output of the mid block's
    attention. ``down.<k>.resnet.<j>``, ``mid.resnet.<j>`` and ``up.<k>.resnet.<j>`` are the outputs
    of single resnets.

    ``attention`` is the shape (tokens, h, w) of the cross-attention maps, if a U-Net has them: the
    share of each token of the prompt at each place of x. They can be stored like a site, but
    nothing is swapped or moved there. ``text`` is the shape (tokens, channels) of the encoded
    prompt that such a U-Net gets.
    """

    x: Shape
    image: Shape
    h: Shape | None
    skips: tuple[tuple[Shape, ...], ...] = ()
    parameters: Annotated[int, Meta(ge=0, le=2**62)] = 0
    without: str = ""
    blocks: tuple[Shape, ...] = ()
    others: tuple[tuple[PlaceName, Shape], ...] = ()
    attention: Shape | None = None
    text: tuple[Side, Side] | None = None

    @property
    def sites(self) -> tuple[str, ...]:
        """``h`` and the skip groups, from the bottleneck outward.

        For a transformer the sites are ``block.0``, ``block.1``, ...
        """
        blocks = tuple(f"block.{k}" for k in range(len(self.blocks)))
        return (
            (("h",) if self.h else ())
            + tuple(f"skip.{g + 1}" for g in range(len(self.skips)))
            + blocks
        )

    @property
    def places(self) -> tuple[str, ...]:
        """The other places, in the order in which they are computed."""
        return tuple(name for name, _ in self.others)

    @property
    def all_sites(self) -> tuple[str, ...]:
        """``sites``, then the other places."""
        return self.sites + self.places

    @property
    def storable(self) -> tuple[str, ...]:
        """All that a run can store: ``all_sites``, then the attention maps."""
        return self.all_sites + ((ATTENTION,) if self.attention else ())

    def need_unet(self, what: str) -> None:
        """Makes sure that the model has h and skips.

        Raises:
            NoUNetError: it has none. The message says why.
        """
        if self.without:
            raise NoUNetError(f"{what} cannot be done here: {self.without}")

    def members(self, site: str) -> tuple[str, ...]:
        """Returns the tensors of a site: ``h`` -> h.

        ``skip.2`` -> skip.2.0, skip.2.1, ...; ``skip.2.0`` -> itself.
        """
        if (site == "h" and self.h) or (site.startswith("block.") and site in self.sites):
            return (site,)
        if site in self.places or (site == ATTENTION and self.attention):
            return (site,)
        match = re.fullmatch(r"skip\.(\d+)(?:\.(\d+))?", site)
        if match and 1 <= int(match[1]) <= len(self.skips):
            group, count = int(match[1]), len(self.skips[int(match[1]) - 1])
            if match[2] is None:
                return tuple(str(Member(group, i)) for i in range(count))
            if int(match[2]) < count:
                return (site,)
        raise UnknownSiteError(
            f"no site {site!r} in this model{did_you_mean(site, self.all_sites)}"
        )

    def shape(self, member: str) -> Shape:
        """Returns the shape (c, h, w) of one tensor.

        ``member``: ``h``, ``skip.<g>.<i>``, ``block.<k>``, or another place.
        """
        (member,) = self.members(member)
        if member == ATTENTION and self.attention:
            return self.attention
        if member in self.places:
            return dict(self.others)[member]
        if member == "h" and self.h is not None:
            return self.h
        if member.startswith("block."):
            return self.blocks[int(member.removeprefix("block."))]
        _, group, index = member.split(".")
        return self.skips[int(group) - 1][int(index)]

    def to_json(self) -> dict[str, Any]:
        """Returns plain data.

        Other places, attention and text are left out if there are none, as in older files.
        """
        found = asdict(self)
        for name in ("attention", "text"):
            if found[name] is None:
                del found[name]
        if not self.others:
            del found["others"]
        return found


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """The condition of samples. It is empty for an unconditional model.

    ``prompts`` or ``classes``: one for all samples, or one per sample. ``guidance``: the scale of
    classifier-free guidance, ε = ε_uncond + guidance (ε_cond - ε_uncond); at 1 only the conditional
    branch runs. For models with distilled guidance (FLUX) it is the number that the network gets as
    an input. ``null_class``: the label that a class-conditional U-Net was trained with in place of
    a class, for guidance. The files of the model do not contain it.

    References:
        Classifier-Free Diffusion Guidance (Ho, Salimans, 2022), https://arxiv.org/abs/2207.12598
    """

    prompts: tuple[str, ...] = ()
    negative_prompt: str = ""
    classes: tuple[int, ...] = ()
    guidance: float = 1.0
    null_class: int | None = None

    def __post_init__(self) -> None:
        if self.null_class is not None and self.null_class < 0:
            raise UsageError(f"the null class must be 0 or more, got {self.null_class}")
        object.__setattr__(self, "prompts", tuple(self.prompts))
        object.__setattr__(self, "classes", tuple(self.classes))
        if not (math.isfinite(self.guidance) and self.guidance >= 1):
            raise UsageError(f"guidance must be 1 (none) or more, got {self.guidance}")
        if any(c < 0 for c in self.classes):
            raise UsageError(f"class labels must be 0 or more, got {min(self.classes)}")

    def check(self, samples: int) -> Conditioning:
        """Returns itself, if it has enough entries for the samples."""
        for what, values in (("prompts", self.prompts), ("classes", self.classes)):
            if 1 < len(values) < samples:
                raise UsageError(
                    f"{len(values)} {what} were given for {samples} samples; give one, or one a"
                    " sample"
                )
        return self

    def inverted_by_prompt(self) -> Conditioning:
        """The same with the prompt as negative prompt, too: negative-prompt inversion.

        Both branches of guidance then predict the same, so that guidance multiplies a difference of
        0, and the inversion is as exact as without guidance.

        Raises:
            UsageError: there is no guidance, not one prompt for all, or another negative prompt.

        References:
            Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion
            Models (Miyake, Iohara, Saito, Tanaka, 2023), https://arxiv.org/abs/2305.16807
        """
        if self.guidance == 1:
            raise UsageError(
                "negative-prompt inversion is for guidance above 1; without guidance the plain"
                " inversion is the same, so leave it out"
            )
        if len(self.prompts) != 1 or not self.prompts[0]:
            raise UsageError(
                "negative-prompt inversion takes one prompt for all pictures, got"
                f" {len([each for each in self.prompts if each])}; invert pictures with other"
                " prompts into runs of their own"
            )
        if self.negative_prompt not in ("", self.prompts[0]):
            raise UsageError(
                "negative-prompt inversion takes the prompt as its negative prompt, got"
                f" {self.negative_prompt[:60]!r} for that; leave the negative prompt out"
            )
        return replace(self, negative_prompt=self.prompts[0])

    @property
    def is_inverted_by_prompt(self) -> bool:
        """Whether the prompt is the negative prompt, too, under guidance."""
        return self.guidance > 1 and self.prompts == (self.negative_prompt,) != ("",)

    def without_guidance(self) -> Conditioning:
        """Returns the condition of the branch with the prompt alone."""
        return replace(self, guidance=1.0, negative_prompt="")

    def rows(self, samples: Sequence[int]) -> Conditioning:
        """Returns the condition of some samples, by their numbers."""
        self.check(max(samples, default=-1) + 1)

        def pick(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return values if len(values) <= 1 else tuple(values[i] for i in samples)

        return replace(self, prompts=pick(self.prompts), classes=pick(self.classes))


UNCONDITIONED = Conditioning()

NULL_CLASS = "the class that a U-Net was trained with for no class"
"""The help text of :attr:`Conditioning.null_class`, on the command line and on a page."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A LoRA that is added to a model's weights.

    ``file``: its safetensors file. ``scale``: the factor of its change of the weights. ``sha256``:
    the digest of the file's bytes; "" until somebody has read them.

    References:
        LoRA: Low-Rank Adaptation of Large Language Models (Hu, Shen, Wallis, Allen-Zhu, Li, Wang,
        Wang, Chen, 2021), https://arxiv.org/abs/2106.09685
    """

    file: str
    scale: float = 1.0
    sha256: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise UsageError(f"the scale of a LoRA must be a finite number, got {self.scale}")

    @property
    def content(self) -> list[Any]:
        """Its bytes and its scale, which identify it wherever its file is."""
        return [self.sha256 or self.file, self.scale]


BATCH = 8
"""The default batch size."""


LARGEST_SEED = 2**62
"""The largest seed. Runs store seeds as signed 64-bit integers, and sums of two of them must
fit.
"""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """The request for one extraction.

    Sample ``i`` starts from the noise of seed ``seed + i``. ``samples`` is the largest number of
    samples. ``store`` maps sites to ``full``, ``pooled`` (mean over space) or ``none``. ``skip.*``,
    ``block.*``, ``down.*``, ``up.*``, ``down.0.resnet.*`` and the like stand for all sites with
    this name and a number that are not named. Sites that are not covered are not stored. Under
    guidance, the activations of the conditional branch are stored. ``images``: digests of real
    pictures, if the samples are inversions of these and not drawn from noise. Two specs that differ
    in anything except ``samples`` and ``batch`` are different runs: more samples extend a run, and
    a batch changes no sample beyond rounding.
    ``batch``: the number of samples that are computed at once and stored in one shard; with 0 the
    extraction chooses it. ``schedule``: see ``SCHEDULES``. ``loras``: LoRAs that are added to the
    model's weights, in this order. ``scheduler``: the configuration of the noise schedule, for a
    model whose files do not contain it. ``inversion``: how pictures are inverted, see
    ``INVERSIONS``.
    """

    model: str
    samples: int
    steps: int
    seed: int = 0
    eta: float = 0.0
    store: Mapping[str, str] = field(default_factory=lambda: {"h": FULL})
    store_dtype: str = "float16"
    dtype: str = "float32"
    batch: int = 0
    weights: str = ""
    conditioning: Conditioning = UNCONDITIONED
    images: tuple[str, ...] = ()
    schedule: str = NEXT
    loras: tuple[Lora, ...] = ()
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    inversion: str = DDIM

    def __post_init__(self) -> None:
        self._check_inversion()
        if self.schedule not in (*SCHEDULES, BEFORE):
            raise UsageError(
                f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}"
            )
        for name in ("samples", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.batch < 0:
            raise UsageError(f"batch must be 1 or more, or 0 to have it chosen, got {self.batch}")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, got {self.seed}")
        if self.seed + self.samples > LARGEST_SEED:
            raise UsageError(
                f"seeds must be below {LARGEST_SEED} (2^62), got those of {self.samples} samples"
                f" from {self.seed} on"
            )
        if not 0 <= self.eta <= 1:
            raise UsageError(
                f"eta must lie in [0, 1] (0: deterministic DDIM, 1: DDPM), got {self.eta}"
            )
        if self.store_dtype not in STORE_DTYPES:
            raise UsageError(
                f"store dtype must be one of {', '.join(STORE_DTYPES)}, got {self.store_dtype!r}"
            )
        for site, policy in self.store.items():
            if policy not in POLICIES:
                raise UsageError(
                    f"what to store of {site} must be one of {', '.join(POLICIES)}, got {policy!r}"
                )
        kept = {site: policy for site, policy in sorted(self.store.items()) if policy != NONE}
        object.__setattr__(self, "store", kept)
        self.conditioning.check(self.samples)
        files = [lora.file for lora in self.loras]
        if len(set(files)) < len(files):
            raise UsageError("a LoRA is given twice; give it once, with the sum of its scales")
        if self.images and (self.samples != len(self.images) or self.eta):
            raise UsageError(
                f"an inversion has as many samples as pictures and eta 0, got {self.samples}"
                f" samples of {len(self.images)} pictures and eta {self.eta}"
            )

    def _check_inversion(self) -> None:
        if self.inversion not in INVERSIONS:
            raise UsageError(
                f"inversion must be one of {', '.join(INVERSIONS)}, got {self.inversion!r}"
            )
        if self.inversion == DDIM:
            return
        if not self.images:
            raise UsageError("null-text inversion is of real pictures; give pictures to invert")
        if self.conditioning.guidance == 1:
            raise UsageError(
                "null-text inversion is for guidance above 1; without guidance the plain inversion"
                " is the same, so leave it out"
            )
        if self.dtype == "float16":
            raise UsageError(
                "null-text inversion needs gradients, which float16 loses; give --dtype float32 or"
                " bfloat16"
            )

    @property
    def inverting(self) -> Conditioning:
        """The condition under which pictures are inverted."""
        given = self.conditioning
        return given.without_guidance() if self.inversion == NULL_TEXT else given

    @property
    def is_beside_plain(self) -> bool:
        """Whether plain DDIM inversion is measured beside the run's own."""
        by_prompt = self.conditioning.is_inverted_by_prompt
        return bool(self.images) and (by_prompt or self.inversion == NULL_TEXT)

    def check(self, anatomy: Anatomy) -> RunSpec:
        """Returns itself, if the model has every site that it names."""
        for site in self.store:
            family = site.removesuffix(".*") if site.endswith(".*") else None
            known = anatomy.storable
            if site not in known and not (family and any(_family(s) == family for s in known)):
                why = f": {anatomy.without}" if anatomy.without else did_you_mean(site, known)
                raise UnknownSiteError(f"no site {site!r} in {self.model}{why}")
        return self

    def stored_places(self, anatomy: Anatomy) -> tuple[str, ...]:
        """Lists what is stored besides h, skips and blocks."""
        stored = (site for site in anatomy.storable if self.policy(site) != NONE)
        return tuple(site for site in stored if site not in anatomy.sites)

    @property
    def shares_prompt(self) -> bool:
        """Whether all samples have the same prompt, and so the same tokens."""
        return len(set(self.conditioning.prompts)) <= 1

    def policy(self, site: str) -> str:
        """Returns ``full``, ``pooled`` or ``none``. A member has the policy of its group."""
        own = ".".join(site.split(".")[:2]) if site.startswith("skip.") else site
        family, dot, _ = own.rpartition(".")
        return self.store.get(own, self.store.get(f"{family}.*", NONE) if dot else NONE)

    @property
    def digest(self) -> str:
        """Returns hex digits that name this run.

        They depend on everything that determines a sample and its storage.
        """
        identity = {k: v for k, v in asdict(self).items() if k not in ("samples", "batch")}
        for name, empty in (("conditioning", UNCONDITIONED), ("images", ())):
            if getattr(self, name) == empty:
                del identity[name]
        del identity["loras"], identity["scheduler"]
        if self.loras:
            identity["loras"] = [lora.content for lora in self.loras]
        if self.scheduler:
            identity["scheduler"] = dict(self.scheduler)
        if self.schedule != DIFFUSERS:
            del identity["schedule"]
        if self.inversion == DDIM:
            del identity["inversion"]
        if self.conditioning.null_class is None and "conditioning" in identity:
            del identity["conditioning"]["null_class"]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """The run's name: the model's, and the digest."""
        last = self.model.rstrip("/").rsplit("/", 1)[-1]
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.").lstrip("_-.") or "model"
        return f"{stem}-{self.digest}"

    def to_json(self) -> dict[str, Any]:
        """Returns plain data. LoRAs, a given scheduler and an inversion are left out if there are
        none.
        """
        found = asdict(self)
        for name in ("loras", "scheduler"):
            if not found[name]:
                del found[name]
        if self.inversion == DDIM:
            del found["inversion"]
        return found


def parse_store(items: Iterable[str]) -> dict[str, str]:
    """Parses ``["h=full", "skip.2=pooled"]`` to a mapping. A site alone means ``full``."""
    store: dict[str, str] = {}
    for item in items:
        site, _, policy = item.partition("=")
        if site in store:
            raise UsageError(f"--store names {site} twice; give each site once")
        store[site] = policy or FULL
    return store


def parse_samples(text: str | None) -> tuple[int, ...]:
    """Parses ``"1,4,10-12"`` to (1, 4, 10, 11, 12)."""
    found: list[int] = []
    for part in filter(None, (p.strip() for p in (text or "").split(","))):
        low, dash, high = part.partition("-")
        try:
            found.extend(range(int(low), int(high) + 1) if dash else [int(low)])
        except ValueError as error:
            raise UsageError(
                f"samples are numbers and ranges separated by commas, 1,4,10-12; got {part!r}"
            ) from error
    return tuple(found)


def parse_numbers(text: str | None) -> tuple[float, ...]:
    """Parses ``"0, 0.5, 1"`` to (0.0, 0.5, 1.0)."""
    try:
        found = tuple(float(part) for part in (text or "").split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"numbers are separated by commas, 0, 0.5, 1; got {text!r}") from error
    if not all(map(math.isfinite, found)):
        raise UsageError(f"numbers have to be finite, got {text!r}")
    return found
