"""A grid of pictures one can click, or walk with the keyboard: one component, no round trip a
picture.

Tab enters the grid, the arrow keys, Home and End walk in it, Enter or Space is a click, and with
Shift held everything from the last click on is meant. A click shows at once; clicks that come
faster than the server answers are kept in the browser, and sent again, until the server has said
that it has seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

_CSS = """
.grid {display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--size), 1fr)); gap: 8px; padding: 4px}
button {border: 2px solid transparent; border-radius: 8px; padding: 3px; background: none; cursor: pointer;
  font: inherit; color: inherit; position: relative}
button:hover {border-color: var(--st-border-color, #ccc)}
button:focus-visible {outline: 3px solid var(--st-primary-color)}
button.chosen {border-color: var(--st-primary-color)}
button.marked {background: color-mix(in srgb, var(--st-primary-color) 30%, transparent)}
button.marked::after {content: '✓'; position: absolute; top: 6px; right: 6px; width: 18px; height: 18px;
  line-height: 18px; border-radius: 9px; font-size: 12px; color: white; background: var(--st-primary-color)}
img {width: 100%; display: block; border-radius: 5px}
small {display: block; text-align: center; font-size: 11px; opacity: .75; line-height: 1.5;
  font-variant-numeric: tabular-nums; font-family: var(--st-font)}
"""

_JS = """
function draw(button, picture, data, marked) {
  const [image, caption] = button.children;
  if (image.src !== picture.uri) image.src = picture.uri;
  if (caption.textContent !== picture.caption) caption.textContent = picture.caption;
  image.alt = 'sample ' + picture.id;
  button.dataset.id = picture.id;
  button.setAttribute('aria-pressed', String(data.selecting ? marked : picture.id === data.chosen));
  button.classList.toggle('chosen', picture.id === data.chosen);
  button.classList.toggle('marked', marked);
}

function make() {
  const button = document.createElement('button');
  button.type = 'button';
  button.tabIndex = -1;
  button.append(document.createElement('img'), document.createElement('small'));
  return button;
}

function focus(grid, at) {
  const button = grid.children[Math.min(Math.max(at, 0), grid.children.length - 1)];
  for (const other of grid.children) other.tabIndex = other === button ? 0 : -1;
  button.focus();
}

function walk(grid, event) {
  const at = [...grid.children].indexOf(event.target.closest('button'));
  const columns = getComputedStyle(grid).gridTemplateColumns.split(' ').length;
  const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns,
              Home: -at, End: grid.children.length - 1 - at}[event.key];
  if (at < 0 || by === undefined) return;
  event.preventDefault();
  if (at + by >= 0 && at + by < grid.children.length) focus(grid, at + by);
}

export default function ({data, parentElement, setTriggerValue}) {
  let grid = parentElement.querySelector('.grid');
  if (!grid) { grid = document.createElement('div'); grid.className = 'grid'; parentElement.appendChild(grid); }
  grid.style.setProperty('--size', data.size + 'px');
  const waiting = (grid.waiting ?? []).filter((click) => click.number > data.seen);
  grid.waiting = waiting;
  grid.last = Math.max(grid.last ?? 0, data.seen);
  const marked = new Set(data.marked);
  for (const click of waiting) flip(marked, click);
  while (grid.children.length < data.pictures.length) grid.append(make());
  while (grid.children.length > data.pictures.length) grid.lastChild.remove();
  data.pictures.forEach((picture, at) => {
    const button = grid.children[at];
    draw(button, picture, data, marked.has(picture.id));
    button.onclick = (event) => {
      if (!data.selecting) { setTriggerValue('picked', picture.id); return; }
      const from = data.pictures.findIndex((other) => other.id === grid.anchor);
      const range = event.shiftKey && from >= 0, ends = range ? [Math.min(from, at), Math.max(from, at)] : [at, at];
      const ids = data.pictures.slice(ends[0], ends[1] + 1).map((other) => other.id);
      const click = {number: ++grid.last, id: picture.id, ids, range};
      grid.anchor = picture.id;
      waiting.push(click);
      flip(marked, click);
      const now = {...data, chosen: picture.id};
      data.pictures.forEach((other, k) => draw(grid.children[k], other, now, marked.has(other.id)));
      setTriggerValue('clicks', [...waiting]);
    };
  });
  if (grid.children.length && ![...grid.children].some((button) => button.tabIndex === 0)) grid.firstChild.tabIndex = 0;
  grid.onkeydown = (event) => walk(grid, event);
}

function flip(marked, click) {
  for (const id of click.ids) if (click.range || !marked.has(id)) marked.add(id); else marked.delete(id);
}
"""

_grid = st.components.v2.component(
    "hcache_grid", html="<div class='grid'></div>\n", css=_CSS, js=_JS
)


@dataclass(frozen=True, kw_only=True)
class Click:
    """A click on ``sample``; with ``ids``, all from the click before to this one (Shift), or
    that sample alone.
    """

    sample: int
    ids: tuple[int, ...]
    range: bool


def picture_grid(
    key: str,
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None = None,
    marked: Sequence[int] = (),
    size: int = 84,
) -> int | None:
    """Shows pictures; returns the id of the one that was just clicked, once."""
    result = _grid(
        key=key,
        data=_data(ids, uris, captions, chosen, marked, size),
        on_picked_change=lambda: None,
    )
    picked = result.picked if result is not None else None
    return None if picked is None else int(picked)


def selection_grid(
    key: str,
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None,
    marked: Sequence[int],
    on_clicks: Callable[[list[Click]], None],
    size: int = 84,
) -> None:
    """Shows pictures of which any number may be marked. ``on_clicks`` gets the clicks since they
    were shown last, each once, before the page is drawn again."""
    numbers = st.session_state.setdefault("clicks seen", {})

    def take() -> None:
        new = [
            click
            for click in st.session_state[key].get("clicks") or ()
            if click["number"] > numbers.get(key, 0)
        ]
        if new:
            numbers[key] = max(click["number"] for click in new)
            on_clicks(
                [
                    Click(
                        sample=int(c["id"]), ids=tuple(map(int, c["ids"])), range=bool(c["range"])
                    )
                    for c in new
                ]
            )

    data = _data(ids, uris, captions, chosen, marked, size) | {
        "selecting": True,
        "seen": numbers.get(key, 0),
    }
    _grid(key=key, data=data, on_clicks_change=take)


def _data(
    ids: Sequence[int] | np.ndarray,
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None,
    marked: Sequence[int],
    size: int,
) -> dict:
    pictures = [
        {"id": int(i), "uri": uri, "caption": text}
        for i, uri, text in zip(ids, uris, captions, strict=True)
    ]
    here = {picture["id"] for picture in pictures}
    return {
        "pictures": pictures,
        "chosen": chosen,
        "marked": [int(i) for i in marked if int(i) in here],
        "size": size,
        "seen": 0,
        "selecting": False,
    }
