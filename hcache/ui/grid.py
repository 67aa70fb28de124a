"""A grid of pictures one can click, or walk with the keyboard: one component, no round trip a picture."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

_CSS = """
.grid {display: grid; grid-template-columns: repeat(auto-fill, minmax(var(--size), 1fr)); gap: 8px; padding: 4px}
button {border: 2px solid transparent; border-radius: 8px; padding: 3px; background: none; cursor: pointer;
  font: inherit; color: inherit}
button:hover {border-color: var(--st-border-color, #ccc)}
button:focus-visible {outline: 3px solid var(--st-primary-color)}
button[aria-pressed=true] {border-color: var(--st-primary-color)}
button.marked {background: color-mix(in srgb, var(--st-primary-color) 30%, transparent)}
img {width: 100%; display: block; border-radius: 5px}
small {display: block; text-align: center; font-size: 11px; opacity: .75; line-height: 1.5;
  font-variant-numeric: tabular-nums; font-family: var(--st-font)}
"""

_JS = """
export default function ({data, parentElement, setTriggerValue}) {
  let grid = parentElement.querySelector('.grid');
  if (!grid) { grid = document.createElement('div'); grid.className = 'grid'; parentElement.appendChild(grid); }
  grid.style.setProperty('--size', data.size + 'px');
  grid.replaceChildren(...data.pictures.map((picture) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.dataset.id = picture.id;
    button.setAttribute('aria-pressed', String(picture.id === data.chosen));
    if (picture.marked) button.classList.add('marked');
    const image = document.createElement('img');
    image.src = picture.uri;
    image.alt = 'sample ' + picture.id;
    const caption = document.createElement('small');
    caption.textContent = picture.caption;
    button.append(image, caption);
    button.onclick = () => setTriggerValue('picked', picture.id);
    return button;
  }));
}
"""

_grid = st.components.v2.component("hcache_grid", html="<div class='grid'></div>\n", css=_CSS, js=_JS)


def picture_grid(
    key: str,
    ids: Sequence[int],
    uris: Sequence[str],
    captions: Sequence[str],
    chosen: int | None = None,
    marked: Sequence[int] = (),
    size: int = 84,
) -> int | None:
    """Shows pictures; returns the id of the one that was just clicked, once."""
    pictures = [
        {"id": int(i), "uri": uri, "caption": caption, "marked": int(i) in marked}
        for i, uri, caption in zip(ids, uris, captions, strict=True)
    ]
    data = {"pictures": pictures, "chosen": chosen, "size": size}
    result = _grid(key=key, data=data, on_picked_change=lambda: None)
    picked = result.picked if result is not None else None
    return None if picked is None else int(picked)
