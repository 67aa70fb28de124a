"""Every command that writes, with what it needs, so that it can be killed or find the disk full.

``commands_of`` makes a furnished run, and all that the commands read, below one folder. What they
write lies below that folder too.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from adm_reference import random_tensors as adm_tensors
from asyrp_blocks import published, save_plain
from ddpm_reference import random_tensors as ddpm_tensors
from PIL import Image
from reader_models import save_classifier
from tiny import code_of, share_nothing

from hcache.cache.labels import save_labels
from hcache.cache.layout import LOCK, SHARDS, VERIFY_JSON
from hcache.cache.reading import open_run
from hcache.cache.records import save_record
from hcache.cache.verify import verify
from hcache.cli.main import main
from hcache.directions.asyrp_block import PLAIN
from hcache.directions.direction import digest_of
from hcache.directions.naive import naive_direction
from hcache.directions.store import list_moves, load_move, save_move
from hcache.measures.kinds import DECODABILITY
from hcache.recipes.recipe import recipe_of

_STEP = {"accuracy": 0.9, "control": 0.1, "selectivity": 0.8, "p": 0.05}
_SCORE = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 12, "level": 0.95}
RESULT = {
    "metric": "R2",
    "steps": [{"step": step, "score": _SCORE, **_STEP} for step in range(4)],
}
"""What a measure of probes finds; a report needs one."""

NAMES = (
    "extract",
    "invert",
    "verify",
    "repair",
    "labels-import",
    "export",
    "parquet",
    "projector",
    "fit",
    "import",
    "measure",
    "probe",
    "figure",
    "render",
    "read",
    "compare",
    "convert-adm",
    "convert-ddpm",
    "status",
)


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to type. ``outs``: what it writes outside the run; ``home``: its own, if it has one;
    ``stale``: a folder that keeps what need not be computed again; ``before``: what spoils the run,
    for a command that mends it; ``refuses``: whether it writes over nothing that is there."""

    given: list[str]
    outs: tuple[Path, ...] = ()
    home: Path | None = None
    stale: Path | None = None
    before: Callable[[], None] = field(default=lambda: None)
    refuses: bool = False

    def clear(self):
        """Takes away what an earlier try wrote, so that it has all to do again."""
        for path in (*self.outs, self.home, self.stale):
            if path is not None:
                remove(path)


def remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sources(folder):
    """What no command writes: checkpoints, a classifier, a picture, a table, an attribute block and
    a run of a model that is wide enough for it.
    """
    folder.mkdir()
    state = ddpm_tensors(widths=(32, 32), attention=(False, True), resnets=1)
    torch.save(state, folder / "ddpm.ckpt")
    torch.save(adm_tensors([32, 64], [False, True]), folder / "adm.pt")
    save_classifier(folder / "classifier")
    pixels = np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    published(folder, PLAIN, "block.pth")
    save_plain(folder / "wide")
    (folder / "table.csv").write_text("sample,a\n" + "".join(f"{s},{s + 1}\n" for s in range(12)))
    return folder


def furnish(run):
    """Labels and directions, to be there still whatever is killed."""
    save_labels(run, "mine", {"a": {s: s / 4 for s in range(12)}})
    save_labels(run, "other", {"b": {s: float(s % 2) for s in range(12)}})
    save_record(run, DECODABILITY, {"label": "a", "site": "h", "pooled": False}, RESULT)
    save_move(run, "way", naive_direction(run, [0, 1]))
    return open_run(run.folder)


def commands_of(run, model, given, out):
    """The commands by name.

    Args:
        run: A furnished run; its home is theirs.
        model: The folder of its model.
        given: The folder of ``sources``.
        out: A folder to write into, which is there.
    """
    return {
        **_of_the_run(run, given),
        **_that_extract(run, model, given, out),
        **_into_files(run, out),
        **_that_convert(given, out),
        **_that_import(given, out),
    }


def _of_the_run(run, given):
    """Those that write into the run."""
    where = ["--home", str(run.home)]
    spoilt = run.folder / SHARDS / run.shards[1].file
    measures = run.folder / "measures"
    reader = ["--reader", f"classifier:{given / 'classifier'}", "--name", "kept", "--replace"]
    fit = ["direction", "fit", run.name, "--method", "pca", "--option", "count=4", "--name", "pc"]
    measure = ["measure", run.name, "--what", "decodability", "--label", "a", *where]
    labels = ["labels-import", run.name, str(given / "table.csv"), "--set", "mine", *where]
    return {
        "verify": Command(given=["verify", run.name, *where]),
        "repair": Command(
            given=["repair", "--yes", run.name, "--device", "cpu", *where],
            before=lambda: spoilt.write_bytes(bytes(run.shards[1].bytes)),
        ),
        "labels-import": Command(given=labels),
        "fit": Command(given=[*fit, "--replace", *where]),
        "measure": Command(given=measure, stale=measures),
        "probe": Command(given=["probe", run.name, "--label", "a", *where], stale=measures),
        "read": Command(given=["read", run.name, *reader, "--device", "cpu", *where]),
    }


def _that_extract(run, model, given, out):
    """Those that begin a run, in a home of its own."""
    new = out / "new home"
    own = ["--store", "h=full", "--steps", "3", "--home", str(new), "--device", "cpu"]
    return {
        "extract": Command(given=["extract", str(model), "--samples", "6", *own], home=new),
        "invert": Command(given=["invert", str(model), str(given / "picture.png"), *own], home=new),
    }


def _into_files(run, out):
    """Those that write a file or a folder outside the run."""
    where = ["--home", str(run.home)]
    recipe = out / "recipe.json"
    recipe.write_text(recipe_of(run, 1).to_text())
    u = ["figure", "u", run.name, "--donor", "0", "--recipient", "1", "--steps", "3-3", *where]

    def write(target, *words, **more):
        """A command that writes one file or folder."""
        return Command(given=[*words, *where], outs=(out / target,), **more)

    def export(target, form):
        """An export in one of the formats."""
        words = ("export", run.name, str(out / target), "--format", form)
        return write(target, *words, refuses=True)

    stale, status = run.folder / "renders", str(out / "status.json")
    return {
        "export": export("out.csv", "csv"),
        "parquet": export("out.parquet", "parquet"),
        "projector": export("projector", "projector"),
        "figure": write("u.pdf", *u, "--out", str(out / "u.pdf"), stale=stale),
        "render": write("again.png", "render", str(recipe), "--out", str(out / "again.png")),
        "compare": write("report.html", "compare", run.name, "--html", str(out / "report.html")),
        "status": write("status.json", "verify", run.name, "--status", status),
    }


def _that_convert(given, out):
    """Those that make a model's folder of a checkpoint."""

    def convert(kind, file, *options):
        """One of them."""
        words = [f"convert-{kind}", str(given / file), str(out / kind), "--image-size", "16"]
        return Command(given=[*words, *options], outs=(out / kind,), refuses=True)

    return {
        "convert-adm": convert("adm", "adm.pt", "--head-channels", "16"),
        "convert-ddpm": convert("ddpm", "ddpm.ckpt"),
    }


def _that_import(given, out):
    """The one that takes a published block as a direction, of a run in a home of its own."""
    new = out / "new home"
    (wide,) = (given / "wide" / "home" / "runs").iterdir()
    block = ["direction", "import", wide.name, str(given / "block.pth"), "--name", "block"]
    return {
        "import": Command(
            given=[*block, "--device", "cpu", "--home", str(new)],
            outs=(new / "runs" / wide.name / "directions" / "block.h5",),
            home=new,
            before=lambda: shutil.copytree(given / "wide" / "home", new),
        )
    }


def report_of(folder):
    """What verifying a run says."""
    work = verify(folder)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def assert_nothing_lost(run):
    """All that ``furnish`` put there is there and whole."""
    run = open_run(run.folder)
    assert not run.label_files.problems and {"mine", "other"} <= set(run.label_files.sets)
    assert "way" in {entry.name for entry in list_moves(run)}
    for entry in list_moves(run):
        assert digest_of(load_move(run, entry.name)) == entry.digest


def tree(folder, but=(VERIFY_JSON,)):
    """Every file below a folder and what is in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but and not path.name.startswith(LOCK)
    }


def partials(*folders):
    """What is left under temporary names."""
    return [path.name for folder in folders for path in folder.rglob("*.partial*")]


def silent(given):
    """A command whose words go nowhere."""
    sys.stdout = sys.stderr = Path(os.devnull).open("w")
    return main(given)


def said_by(work):
    """How a child ended, and what it wrote on standard output and error, through a pipe: no limit
    on files meets that.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.close(read)
            share_nothing()
            sys.stdout = sys.stderr = os.fdopen(write, "w", buffering=1)
            code = work() or 0
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    return code_of(child), said


def kill_after(child, seconds):
    """SIGKILL to a child once some time has passed."""
    import time

    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return code_of(child)
