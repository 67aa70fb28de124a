"""Directions on the Edit page: a saved one, or a new one by any method, with its positives and
options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import streamlit as st

from ...cache.layout import DIRECTIONS, H, run_names
from ...cache.reading import Run, open_run
from ...cache.records import state_of
from ...directions import fitting
from ...directions.direction import (
    Direction,
    Move,
    Resamplable,
    check_movable,
    digest_of,
    named_samples,
    site_of,
)
from ...directions.fitting import (
    METHODS,
    NAMES,
    NEGATIVES,
    POSITIVES,
    REGION,
    Fit,
    Method,
    Option,
    fit,
    is_quick,
    kind_of_move,
)
from ...directions.store import damaged_moves, delete_move, list_moves, load_move, save_move
from ...directions.unit import net_in_words
from ...errors import HcacheError, UsageError
from ...measures.judged import null_in_words
from ...recipes.edits import DirectionRef
from .. import loaders, state
from ..kept import kept
from ..tasks import task_list
from ..text import literal, with_commands
from .fits import FIT, fit_panel, fitted, import_panel
from .mask import mask_panel
from .positives import choose_samples

NEW, FROM_RECIPE = "a new one", "the recipe's"
WORDS = {NEW: "New direction", FROM_RECIPE: "The recipe's direction"}
DROPPED = "direction of a recipe"
"""In the session: a recipe's reference to a direction that is not saved here."""
MOST_OPTION = 10**9
"""The bound of a method's options, in both directions."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A direction to edit along.

    It has its name and its intended attribute, if known. ``resample``: it was fitted on other steps
    than the run's, and is interpolated to these.
    """

    move: Move
    name: str
    target: str | None
    resample: bool = False

    @cached_property
    def digest(self) -> str:
        """Hex digits that name the direction."""
        return digest_of(self.move)

    @property
    def ref(self) -> DirectionRef:
        """The reference to it that a recipe holds."""
        return DirectionRef(digest=self.digest, name=self.name, made_by=self.move.made_by)

    def on_steps_of(self, run: Run) -> Move:
        """Returns the move itself, or interpolated to the run's steps."""
        return (
            self.move.resampled(run.timesteps)
            if self.resample and isinstance(self.move, Resamplable)
            else self.move
        )


def direction_panel(run: Run) -> Chosen | None:
    """Returns the direction to edit along, once there is one."""
    check_movable(run)
    saved = [entry.name for entry in list_moves(run)] + list(_elsewhere(run))
    options = [NEW, *([FROM_RECIPE] if DROPPED in st.session_state else []), *saved]
    if state.recall("direction", NEW) not in options:
        state.choose("direction", NEW)
    chosen = state.select(
        "Direction",
        "direction",
        options,
        help="Saved directions stay with the run.",
        format_func=lambda name: WORDS.get(name, name),
    )
    _tell_damaged(run)
    task_list(run, FIT)
    if chosen == NEW:
        found = _new(run, _method())
        if found is not None:
            _tell_nulls(run, found.move.made_by)
        return found
    if chosen == FROM_RECIPE:
        return _from_recipe(run, st.session_state[DROPPED])
    owner, name = _owner(run, chosen)
    move = saved_move(owner, name)
    made_by = dict(move.made_by)
    other_steps = bool(move.timesteps) and tuple(move.timesteps) != tuple(map(float, run.timesteps))
    text = f"{literal(_told(made_by))} Digest {digest_of(move)}."
    if other_steps:
        text += (
            f" Fitted on {len(move.timesteps)} steps; brought to this run's {run.spec.steps},"
            " linear in t."
        )
    st.caption(text)
    _tell_nulls(owner, made_by)
    if owner is run:
        _delete_form(run, name)
    return Chosen(move=move, name=chosen, target=_target(run, made_by), resample=other_steps)


def _tell_nulls(run: Run, made_by: Mapping[str, Any]) -> None:
    """Says how much a direction changes its label beside random ones, and how much of a move of
    each sample is the way to the mean.
    """
    if label := str(made_by.get("label", "")):
        st.caption(with_commands(null_in_words(run, label)))
    if said := net_in_words(made_by.get("net")):
        st.caption(said)


def _method() -> Method:
    """Draws the choice of a method, below the faults of methods of other packages."""
    for problem in METHODS.problems():
        st.warning(literal(problem), icon=":material/extension_off:")
    names = list(METHODS)
    return METHODS[
        state.select("Method", "method", names, format_func=lambda key: METHODS[key].title)
    ]


def _tell_damaged(run: Run) -> None:
    """Lists the saved directions whose files cannot be used, each with the reason and a button to
    delete it.
    """
    for name, problem in damaged_moves(run).items():
        st.warning(f"{literal(name)}: {literal(problem)}", icon=":material/broken_image:")
        _delete_form(run, name, f"delete-damaged-{name}")


def _can_resample(kind: str) -> bool:
    """Returns whether moves of a kind can be interpolated to other steps."""
    found = kind_of_move(kind)
    return found is not None and hasattr(found, "resampled")


def _elsewhere(run: Run) -> dict[str, str]:
    """Returns the directions saved with other runs of the same model and weights: ``run/name`` ->
    digest.
    """
    found: dict[str, str] = {}
    for name in run_names(run.home):
        if name == run.name or not (run.folder.parent / name / DIRECTIONS).is_dir():
            continue
        try:
            other = loaders.shared_run(run.folder.parent / name)
        except HcacheError:
            continue  # the Overview shows what is wrong with it
        if (other.spec.model, other.spec.weights) == (run.spec.model, run.spec.weights):
            found |= {
                f"{name}/{entry.name}": entry.digest
                for entry in list_moves(other)
                if _can_resample(entry.kind)
            }
    return found


def _owner(run: Run, chosen: str) -> tuple[Run, str]:
    """Returns the run that a direction is saved with, and its name there."""
    owner, slash, name = chosen.rpartition("/")
    return (loaders.shared_run(run.folder.parent / owner), name) if slash else (run, chosen)


def _new(run: Run, method: Method) -> Chosen | None:
    """Draws the needs of a method, and returns what it found."""
    name = method.name
    st.caption(method.text, help=f"{method.source}." if method.source else None)
    if method.takes_files:
        import_panel(run)
    positives, negatives, label = (
        choose_samples(run, both=NEGATIVES in method.needs)
        if POSITIVES in method.needs
        else ((), (), "")
    )
    if POSITIVES in method.needs and len(positives) < max(method.least, 1):
        st.info(f"Pick {method.least} or more positives; {len(positives)} so far.")
        return None
    what = Fit(
        method=name,
        run=run.name,
        positives=positives,
        negatives=negatives,
        label=label,
        options=_options(run, method),
        site=_site(run, method),
    )
    proposed = f"{label.replace('/', '-')}-{name}" if label else name
    proposed += "" if what.site == H else f"-{what.site}"
    if method.quick:
        moves = _at_once(run, what)
        _save_form(run, moves[0], proposed)
        return Chosen(move=moves[0], name=f"new, {name}", target=label or None)
    found = fitted(run, what)
    if not found:
        fit_panel(run, what, proposed)
        return None
    k = 0
    if len(found) > 1:
        k = state.slider(
            "Which of them", "component", 0, len(found) - 1, 0, help="The first is the strongest."
        )
    st.caption(f"Fitted, and saved as {literal(found[k].name)}.")
    return Chosen(move=saved_move(run, found[k].name), name=found[k].name, target=label or None)


def _site(run: Run, method: Method) -> str:
    """Returns the tensor that a new direction moves. Arithmetic keeps that of its operands."""
    if fitting.DIRECTIONS in method.needs:
        return H
    return site_panel(run, "direction-site") if method.sites else H


def site_panel(run: Run, key: str) -> str:
    """Draws the choice of the tensor that is moved.

    Nothing is drawn if the run stores only h in full.
    """
    sites = check_movable(run)
    if sites == (H,):
        return H
    return state.select(
        "Site",
        key,
        sites,
        default=H if H in sites else sites[0],
        help="What the direction moves: h, or another tensor that the run stores in full.",
    )


def use_direction(run: Run, ref: DirectionRef) -> None:
    """Chooses a recipe's direction.

    It is the saved one with that digest, or one that is fitted again from its description.
    """
    saved = {entry.name: entry.digest for entry in list_moves(run)} | _elsewhere(run)
    if (
        name := next((name for name, digest in saved.items() if digest == ref.digest), None)
    ) is not None:
        state.choose("direction", name)
        return
    st.session_state[DROPPED] = ref
    state.choose("direction", FROM_RECIPE)


def _from_recipe(run: Run, ref: DirectionRef) -> Chosen | None:
    """Fits a recipe's direction again. The result must be exactly the recipe's direction."""
    if ref.made_by.get("run") != run.name or ref.made_by.get("method") not in METHODS:
        raise UsageError(
            f"the recipe's direction {ref.name or ref.digest} ({ref.digest}) is not saved with this"
            " run and cannot be fitted again on it: it was made by"
            f" {ref.made_by.get('method', 'an unknown method')} on"
            f" {ref.made_by.get('run', 'an unknown run')}; import or save it there"
        )
    what, name = replace(Fit.from_json(ref.made_by), component=0), ref.name or ref.digest
    st.caption(literal(_told(ref.made_by)) + " Not saved here; it is fitted again.")
    if is_quick(what.method):
        moves = {digest_of(move): move for move in _at_once(run, what)}
    elif found := fitted(run, what):
        moves = {entry.digest: saved_move(run, entry.name) for entry in found}
    else:
        fit_panel(run, what, name.rpartition("/")[2])
        return None
    if ref.digest not in moves:
        raise UsageError(
            f"the recipe's direction {name} ({ref.digest}) was fitted again and gave another"
            f" direction ({', '.join(moves)}): the run or a library has changed since it was made"
        )
    if is_quick(what.method):
        _save_form(run, moves[ref.digest], name.rpartition("/")[2])
    return Chosen(move=moves[ref.digest], name=name, target=_target(run, ref.made_by))


def _at_once(run: Run, what: Fit) -> tuple[Move, ...]:
    """Fits a direction immediately, or returns the kept result. Other samples give another result,
    and so do other saved directions under the names that a fit adds up.
    """
    made_from = [state_of(run)]
    if fitting.DIRECTIONS in METHODS[what.method].needs:
        made_from += [f"{entry.name} {entry.digest}" for entry in list_moves(run)]
    return _fit_at_once(str(run.folder), tuple(made_from), _frozen(what.to_json()))


@kept("Averaging h …")
def _fit_at_once(folder: str, made_from: tuple[str, ...], what: str) -> tuple[Move, ...]:
    """Fits a direction immediately. ``made_from`` is part of the key of what is kept."""
    import json

    from ...progress import drive

    return drive(fit(Fit.from_json(json.loads(what)), open_run(folder)))


def _frozen(data: Mapping[str, Any]) -> str:
    import json

    return json.dumps(data, sort_keys=True)


@kept()
def _saved(folder: str, name: str, changed: float) -> Move:
    """Loads a saved direction. ``changed``, the file's time of change, is part of the cache's
    key.
    """
    return load_move(open_run(folder), name)


def _changed(run: Run, name: str) -> float:
    return (run.folder / DIRECTIONS / f"{name}.h5").stat().st_mtime


def saved_move(run: Run, name: str) -> Move:
    """Returns a saved direction, read once for all sessions."""
    return _saved(str(run.folder), name, _changed(run, name))


def _told(made_by: Mapping[str, Any]) -> str:
    """Describes how a direction was made."""
    parts = [f"Made by {made_by.get('method', 'an unknown method')}"]
    if made_by.get("label"):
        parts.append(f"from the label {made_by['label']}")
    if count := len(named_samples(made_by, "positives")):
        parts.append(f"with {count} positives")
    if count := len(named_samples(made_by, "negatives")):
        parts.append(f"and {count} negatives")
    if (site := made_by.get("site", H)) != H:
        parts.append(f"at {site}")
    return " ".join(parts) + "."


def _target(run: Run, made_by: Mapping[str, Any]) -> str | None:
    label = str(made_by.get("label", ""))
    return label if label in loaders.labels_of(run) else None


def _save_form(run: Run, move: Move, proposed: str) -> None:
    left, right = st.columns([5, 2], vertical_alignment="bottom")
    name = left.text_input("Save as", proposed, key=f"save-name-{proposed}")
    if right.button("Save", key="save-direction", width="stretch"):
        save_move(run, name, move)
        state.choose("direction", name)
        st.toast(f"Saved {literal(name)}.")
        st.rerun()


def _delete_form(run: Run, name: str, key: str = "delete-direction") -> None:
    """Deletes a saved direction: one press asks, and a second one deletes."""
    with st.popover("Delete", icon=":material/delete:"):
        st.markdown(
            f"Delete the direction **{literal(name)}**? Pictures that were made with it contain"
            " its description, so it can be fitted again."
        )
        if st.button("Delete it", key=key):
            delete_move(run, name)
            state.choose("direction", NEW)
            st.rerun()


def _options(run: Run, method: Method) -> dict[str, Any]:
    """Returns a method's options that are not at their defaults. The widgets follow from the
    options' types.
    """
    if not method.options:
        return {}
    saved = [entry.name for entry in list_moves(run)]
    options = {}
    with st.expander("Options", expanded=fitting.DIRECTIONS in method.needs):
        for name, option in method.options.items():
            if option.holds == REGION:
                value = _region(run, name, int(options.get("sample", run.sample_ids[0])))
            else:
                value = _option(method, name, option, saved)
            if value != option.default:
                options[name] = value
    return options


def _region(run: Run, name: str, sample: int) -> str:
    """Returns a region in the form of the option, chosen on the picture of the Jacobian's
    sample.
    """
    known = sample if sample in run.sample_ids else int(run.sample_ids[0])
    mask = mask_panel(name, run.picture(known), label=f"{name}: only the inside counts")
    if mask is None:
        return ""
    return mask.png or ",".join(f"{side:g}" for side in mask.rectangle or ())


def _option(method: Method, name: str, option: Option, saved: list[str]) -> Any:
    key, text = f"option-{method.name}-{name}", f"{name}: {option.text}"
    if option.holds == NAMES:
        return ",".join(state.many(f"{name}: saved directions, in this order", key, saved, []))
    if option.choices:
        return state.select(text, key, option.choices)
    if isinstance(option.default, bool):
        return state.flag(text, key, option.default)
    if isinstance(option.default, int):
        return state.whole(text, key, -MOST_OPTION, MOST_OPTION, option.default)
    if isinstance(option.default, float):
        return state.number(
            text, key, float(-MOST_OPTION), float(MOST_OPTION), option.default, format="%g"
        )
    return state.text(text, key, option.default)


def profile_caption(move: Move) -> str:
    """Describes at which steps a direction is long."""
    if not isinstance(move, Direction):
        return f"Moves each sample by its own Δh{_of_site(move)}."
    profile = move.profile
    step = int(np.argmax(profile))
    return (
        f"Longest at step {step} ({profile[step]:.1f} σ); shortest {profile.min():.1f}"
        f" σ{_of_site(move)}."
    )


def _of_site(move: Move) -> str:
    """Names a move's site, unless it is h."""
    site = site_of(move)
    return "" if site == H else f" (at {site})"
