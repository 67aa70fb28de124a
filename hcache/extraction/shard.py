"""Computes one shard: the steps of a batch go to its file in a thread, while the next step
computes.

What is kept is narrowed to the storage dtype where it was computed, and leaves a GPU through pinned
memory without anybody waiting for it but the thread that writes. That thread is one step behind at
most: no more than two steps' activations are held, however slow the disk is. What a finished shard
still needs (checksum, flush, commit) is done in another thread while the next is computed. That is
one shard behind at most.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from ..cache.layout import IMAGES
from ..cache.plan import preview_shape
from ..cache.shards import Finished, ShardWriter
from ..errors import ModelError
from ..images.pictures import greyed, load_prepared
from ..models.conditioners import Guided
from ..models.model import Model
from ..readers.registry import find_reader
from ..sampling.inversion import invert
from ..sampling.loop import Step, denoise
from ..sampling.null_text import Inverted, invert_null_text
from ..sampling.schedule import schedule_of
from ..specs import FULL, NONE, NULL_TEXT, Conditioning, RunSpec
from .finite import Finite
from .plain_inversion import ERROR, plain_again

STORING = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of an extraction.

    It contains the number of committed samples, their total, and the finished steps of the current
    shard. If there are several current shards, these are the steps of all of them together.
    ``closing``: samples of the previous shard, which is computed but not committed yet.
    ``devices``: the number of devices, if there may be several.
    """

    done: int
    total: int
    step: int = 0
    steps: int = 0
    shard: int = 0
    closing: int = 0
    devices: int = 0

    @property
    def work(self) -> float:
        """The number of samples, including a share of the current shard."""
        return self.done + self.closing + (self.shard * self.step / self.steps if self.steps else 0)


def _compute_alone() -> None:
    """Makes this thread compute alone.

    OpenMP gives every calling thread its own helper threads. If there are more of them than cores,
    they all sleep instead of spinning, and the network that computes at the same time takes a fifth
    longer.
    """
    torch.get_num_threads()  # this sets their number at the first call from a thread, and not again
    threadpool_limits(1, user_api="openmp")


class Behind:
    """Runs one task at a time in its own thread.

    An error there is raised at the next call, or by ``wait``.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "hcache-behind", initializer=_compute_alone)
        self._last: Future | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Waits for the current task. Its error is raised only if there was none before."""
        try:
            self.wait() if error is None else self.settle()
        finally:
            self._thread.shutdown()

    def __call__(self, work: Callable[[], Any]) -> None:
        self.wait()
        self._last = self._thread.submit(work)

    def wait(self) -> None:
        """Waits until everything is done."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def settle(self) -> None:
        """Waits until everything is done, and ignores errors."""
        last, self._last = self._last, None
        if last is not None:
            last.exception()


Show = Callable[[int, int, np.ndarray], None]
"""A function that receives the first current sample, the finished step, and the predicted x_0 of
all current samples, (n, height, width, 3) uint8. It is called in the thread that writes.
"""


def show_nothing(start: int, step: int, x_0: np.ndarray) -> None:
    """The :data:`Show` of an extraction without a viewer."""


@dataclass(frozen=True, kw_only=True)
class ShardPart:
    """Samples of a run for one shard: ``start`` to ``stop``."""

    model: Model
    spec: RunSpec
    folder: Path
    start: int
    stop: int
    provenance: dict[str, Any]
    show: Show = show_nothing

    @property
    def size(self) -> int:
        """The number of samples."""
        return self.stop - self.start

    @property
    def ticks(self) -> int:
        """Returns the number of reported steps.

        An inversion takes each step twice, and null-text inversion three times. Plain inversion
        beside it takes each twice more.
        """
        times = 1 + bool(self.spec.images) + (self.spec.inversion == NULL_TEXT)
        return (times + 2 * self.spec.is_beside_plain) * self.spec.steps


def compute_range(
    part: ShardPart,
    tick: Callable[[ShardPart, int], None],
    writing: Behind,
    closing: Behind,
    finished: Callable[[Finished], None],
    most: int,
) -> int:
    """Computes a part as one shard.

    If memory does not suffice, it is computed as several shards, one after the other.

    Args:
        part: The part to compute.
        tick: Called after every step with the current part and its number of finished steps. It may
            raise.
        writing: See :func:`compute_shard`.
        closing: Likewise.
        finished: Likewise.
        most: The batch size to try first.

    Returns:
        The final batch size. ``most`` is halved until it fits.

    Raises:
        ModelError: memory does not suffice for a single sample.
    """
    start = part.start
    while start < part.stop:
        piece = replace(part, start=start, stop=min(start + most, part.stop))
        try:
            compute_shard(piece, partial(tick, piece), writing, closing, finished)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if piece.size == 1:
                raise ModelError(
                    f"memory on {part.model.device} is too small for one sample of"
                    f" {part.spec.model}: {error}. Compute in half precision (--dtype float16), or"
                    " on another device (--device)"
                ) from error
        else:
            start = piece.stop
            continue
        most = (piece.size + 1) // 2
        logging.getLogger(__name__).warning(
            "memory on %s is too small for %d samples at once; continuing with %d",
            part.model.device,
            piece.size,
            most,
        )
        if part.model.device.type == "cuda":
            torch.cuda.empty_cache()
    return most


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error means that memory ran out.

    It may be a GPU's memory or this machine's.
    """
    return isinstance(
        error, torch.OutOfMemoryError | MemoryError
    ) or "can't allocate memory" in str(error)


def _originals(part: ShardPart) -> np.ndarray:
    """Returns the user's pictures of a part (n, height, width, 3) uint8, as the model sees them."""
    digests = part.spec.images[part.start : part.stop]
    found = np.stack([load_prepared(part.folder / IMAGES, digest) for digest in digests])
    is_grey = part.model.anatomy.x == (1, *part.model.anatomy.image[:2])
    return greyed(found) if is_grey else found  # a grey model uses luminance


def compute_shard(
    part: ShardPart,
    tick: Callable[[int], None],
    writing: Behind,
    closing: Behind,
    finished: Callable[[Finished], None],
) -> None:
    """Computes a shard.

    Args:
        part: The part to compute.
        tick: Called after every step with the number of finished steps. It may raise to end the
            work.
        writing: Writes steps and completes the shard, possibly after this function returns.
        closing: Flushes the shard afterwards. The previous shard is passed to ``finished`` before
            the last tick of this one.
        finished: Called in that thread with the complete and flushed shard.
    """
    spec = part.spec
    samples = range(part.start, part.stop)
    seeds = [spec.seed + i for i in samples]
    timesteps = np.array(schedule_of(part.model, spec.steps, spec.schedule).timesteps)
    writer = ShardWriter(part.folder, part.start, np.array(seeds), timesteps, spec.store_dtype)
    try:
        conditioning = spec.conditioning.rows(samples)
        writer.describe(part.provenance | {"run": spec.name, "conditioning": asdict(conditioning)})
        inverted, finite = None, Finite()
        guided = part.model.condition(conditioning, len(samples))
        if spec.images:
            inverted = _Inversion(part, conditioning, tick, finite).run()
            guided = inverted.guided(guided)
        for step in denoise(
            part.model,
            seeds,
            spec.steps,
            spec.eta,
            conditioning=guided,
            x_t=None if inverted is None else inverted.x_t,
            schedule=spec.schedule,
            places=spec.stored_places(part.model.anatomy),
        ):
            finite.note_step(step)
            writing(_Kept(part.model, spec, step).to(writer, partial(part.show, part.start)))
            if step.index == spec.steps - 1:
                closing.wait()
            tick(part.ticks - spec.steps + step.index + 1)
        finite.check(samples, spec.dtype)
        images = part.model.to_images(step.x_next, samples).numpy()
        labels = partial(_labels, part.model, inverted, images)
        x = step.x_next.cpu().numpy()
        if inverted is not None and inverted.null_text is not None:
            writing(partial(writer.write_null_text, inverted.null_text.cpu().numpy()))
        writing(partial(_finish, writer, x, images, labels, closing, finished))
    except BaseException:
        with writer:  # this deletes unfinished files
            writing.settle()
        raise


def _finish(
    writer: ShardWriter,
    x: np.ndarray,
    images: np.ndarray,
    labels: Callable[[], dict[str, dict[str, np.ndarray]]],
    closing: Behind,
    finished: Callable[[Finished], None],
) -> None:
    """Completes and closes a shard, and leaves the rest to ``closing``. Two threads in HDF5 at
    once, one of them on a full disk, may end the process.
    """
    with writer:
        writer.write_x(writer.steps, x)
        writer.write_images(images)
        for label_set, values in labels().items():
            writer.write_labels(label_set, values)
        closing.wait()
        seal = writer.close()
    closing(lambda: finished(seal()))


def _labels(
    model: Model, inverted: _Inverted | None, images: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Returns the readings of the finished pictures: set -> name -> values (n,)."""
    labels: dict[str, dict[str, np.ndarray]] = {}
    if inverted is not None:
        error = reconstruction_error(inverted.originals, images)
        labels["inversion"] = {"reconstruction_error": error}
        if inverted.plain is not None:
            labels["inversion"][ERROR] = reconstruction_error(inverted.originals, inverted.plain)
    if model.card.reader:
        labels[model.card.reader] = dict(find_reader(model.card.reader)(images))
    return labels


@dataclass(frozen=True, kw_only=True)
class _Inverted:
    """The inverted pictures of a shard.

    ``originals``: the pictures (n, height, width, 3) uint8. ``null_text``: optimised texts of the
    unconditional branch (steps, n, tokens, d). ``plain``: what plain DDIM inversion makes of the
    pictures.
    """

    originals: np.ndarray
    x_t: torch.Tensor
    null_text: torch.Tensor | None = None
    plain: np.ndarray | None = None

    def guided(self, guided: Guided) -> Guided:
        """Returns the branches of guidance with the optimised texts, if there are any."""
        texts = self.null_text
        return guided if texts is None else replace(guided, null_text=texts.__getitem__)


@dataclass(frozen=True)
class _Inversion:
    """The inversion of a shard's pictures. ``tick`` is called after every step."""

    part: ShardPart
    conditioning: Conditioning
    tick: Callable[[int], None]
    finite: Finite

    def run(self) -> _Inverted:
        """Inverts the pictures as the run says, and by plain DDIM if that is to be compared."""
        model, spec = self.part.model, self.part.spec
        originals = _originals(self.part)
        pixels = torch.from_numpy(originals).permute(0, 3, 1, 2).to(model.device).float() / 127.5
        x_0 = model.codec.encode(pixels - 1)[:, : model.anatomy.x[0]]
        self.finite.note("the encoded picture", "the start", x_0)
        plain, done = None, 0
        if spec.is_beside_plain:
            x, given = x_0, self.conditioning
            for done, x in enumerate(plain_again(model, spec, x_0, given), 1):  # noqa: B007 - the last is the result
                self.tick(done)
            plain = model.to_images(x).numpy()
        if spec.inversion == NULL_TEXT:
            work = invert_null_text(model, x_0, spec.steps, self.conditioning, spec.schedule)
            found = self._taken(work, done)
            return _Inverted(
                originals=originals, x_t=found.x_t, null_text=found.null_text, plain=plain
            )
        x_t = x_0
        for step, x_t in enumerate(
            invert(model, x_0, spec.steps, self.conditioning, spec.schedule), 1
        ):
            self._note(step, x_t, done)
        return _Inverted(originals=originals, x_t=x_t, plain=plain)

    def _taken(self, work: Generator[torch.Tensor, None, Inverted], done: int) -> Inverted:
        """Runs a null-text inversion to its end."""
        step = 0
        while True:
            try:
                x = next(work)
            except StopIteration as end:
                return end.value
            step += 1
            self._note(step, x, done)

    def _note(self, step: int, x: torch.Tensor, done: int) -> None:
        steps = self.part.spec.steps
        index = steps - step if step <= steps else step - steps - 1
        self.finite.note("x", f"step {index} of inversion", x)
        self.tick(done + step)


def reconstruction_error(originals: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns the root mean square difference of pictures.

    It is a share of the full range. Pictures are (n, height, width, 3) uint8, and the result is
    (n,).
    """
    difference = (originals.astype(np.float32) - images.astype(np.float32)) / 255
    return np.sqrt(np.square(difference).mean((1, 2, 3)))


class _Kept:
    """The stored parts of a step, on their way from the device to a shard."""

    def __init__(self, model: Model, spec: RunSpec, step: Step) -> None:
        self.index, self._sources, self._narrow = step.index, {}, {}
        cuda = model.device.type == "cuda"
        with torch.inference_mode():
            for site in model.anatomy.storable:
                policy = spec.policy(site)
                for member in model.anatomy.members(site) if policy != NONE else ():
                    tensor = step.features[member]
                    source = tensor if policy == FULL else tensor.float().mean((2, 3))
                    self._sources[member] = source
                    self._narrow[member] = _to_host(source.to(STORING[spec.store_dtype]))
            height, width, _ = preview_shape(model.anatomy.image)
            self._x_t, self._x_0 = (
                _to_host(step.x_t),
                _to_host(model.to_previews(step.x_0, height, width)),
            )
            self._arrived = (
                torch.cuda.Event(blocking=True) if cuda else None
            )  # waits by sleeping, not spinning
            if self._arrived is not None:
                self._arrived.record(torch.cuda.current_stream(model.device))

    def to(
        self, writer: ShardWriter, show: Callable[[int, np.ndarray], None]
    ) -> Callable[[], None]:
        """Writes and shows the step, in another thread."""

        def write() -> None:
            if self._arrived is not None:
                self._arrived.synchronize()
            for member, narrow in self._narrow.items():
                source = self._sources[member]
                writer.write_activation(
                    self.index, member, narrow.numpy(), lambda s=source: s.float().cpu().numpy()
                )
            writer.write_x(self.index, self._x_t.numpy())
            writer.write_x_0(self.index, self._x_0.numpy())
            show(self.index, self._x_0.numpy())

        return write


def _to_host(tensor: torch.Tensor) -> torch.Tensor:
    """Returns the tensor on the CPU: itself, or for a CUDA device a pinned copy that is still being
    filled.
    """
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(
        tensor, non_blocking=True
    )
