"""The U, drawn as two trapezoids with the bottleneck between them and a bracket of lines for each
skip group.

With what each site is, for the pages; the U-figure, with what becomes of a picture when a site is
swapped, is ``ufigure.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ..cache.plan import format_bytes, site_bytes
from ..specs import FULL, NONE, POOLED, Anatomy
from .palette import BOTTLENECK, DECODER, ENCODER, FONT, INK, LINE, MUTED, PAPER

STRAND = 5.0
"""The distance between the lines of one group."""


@dataclass(frozen=True, kw_only=True)
class _U:
    """The geometry: brackets nested outward, ``row`` apart, with ``members`` lines each. h is on
    the lowest row.
    """

    members: tuple[int, ...]
    row: float
    left: float
    width: float
    top: float

    @property
    def groups(self) -> int:
        return len(self.members)

    @property
    def centre(self) -> float:
        return self.left + self.width / 2

    @property
    def base(self) -> float:
        """The height of the line through the bottleneck."""
        return self.top + self.row * (self.groups + 0.5)

    @property
    def height(self) -> float:
        return self.base + max(self.outer_half, self.row / 2) + 24

    @property
    def outer_half(self) -> float:
        return 74.0

    def y(self, group: int) -> float:
        """Returns the height of a group's bracket, or of h for group 0."""
        return self.base - self.row * group

    def x(self, group: int) -> float:
        """Returns how far left of the centre a group leaves the encoder."""
        inner = 0.25 * self.width
        return inner + (0.5 * self.width - inner - 12) * (group - 0.5) / self.groups

    def half(self, x: float) -> float:
        """Returns half the height of the trapezoids at a distance from the centre."""
        inner, outer = 0.24 * self.width, 0.5 * self.width
        return 15 + (self.outer_half - 15) * (x - inner) / (outer - inner)


def draw_anatomy(anatomy: Anatomy, store: Mapping[str, str] | None = None) -> str:
    """Draws a model's sites with shapes and bytes, as SVG.

    Bytes are those of a sample at one step. With ``store`` they are those that a run stores.
    """
    u = _U(members=tuple(map(len, anatomy.skips)), row=58, left=40, width=820, top=22)
    parts = [_frame(u)]
    for group in range(len(anatomy.skips), -1, -1):
        site = f"skip.{group}" if group else "h"
        shapes = [anatomy.shape(member) for member in anatomy.members(site)]
        policy = (store or {}).get(site, NONE) if store is not None else ""
        size = site_bytes(anatomy, site, FULL, 2)
        parts.append(_label(u, group, site, _shapes_text(shapes), format_bytes(size), policy))
    x_text = "×".join(map(str, anatomy.x))
    below = u.base + u.outer_half + 18
    parts.append(_text(u.left + 70, below, f"x_t  {x_text}", 13, MUTED))
    parts.append(_text(u.left + u.width - 70, below, f"prediction  {x_text}", 13, MUTED))
    return _svg(
        u.left * 2 + u.width, u.height + 8, parts, "The U-Net's sites, their shapes and sizes"
    )


def _shapes_text(shapes: Sequence[tuple[int, ...]]) -> str:
    """Returns ``128×8×8 (2), 96×8×8``, with equal neighbours counted."""
    counted: list[list] = []
    for shape in shapes:
        if counted and counted[-1][0] == shape:
            counted[-1][1] += 1
        else:
            counted.append([shape, 1])
    return ", ".join("×".join(map(str, s)) + (f" ({n})" if n > 1 else "") for s, n in counted)


def _frame(u: _U) -> str:
    """Draws trapezoids, bottleneck and brackets."""
    parts = []
    for group in range(u.groups, 0, -1):
        count = u.members[group - 1]
        for strand in range(count):
            aside = (strand - (count - 1) / 2) * STRAND
            x, y = u.x(group) + aside, u.y(group) - aside
            foot = u.base - u.half(u.x(group)) + 2
            path = (
                f"M{u.centre - x:.1f},{foot:.1f} V{y + 14:.1f} q0,-14 14,-14 "
                f"H{u.centre + x - 14:.1f} q14,0 14,14 V{foot:.1f}"
            )
            parts.append(f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    inner, outer = 0.24 * u.width, 0.5 * u.width
    for sign, colour, name in ((-1, ENCODER, "encoder"), (1, DECODER, "decoder")):
        near, far = u.centre + sign * inner, u.centre + sign * outer
        corners = ((near, -15.0), (far, -u.outer_half), (far, u.outer_half), (near, 15.0))
        points = " ".join(f"{x:.1f},{u.base + dy:.1f}" for x, dy in corners)
        parts.append(
            f'<polygon points="{points}" fill="{colour}" fill-opacity="0.16" stroke="{colour}"/>'
        )
        parts.append(_text((near + far) / 2 + sign * 30, u.base + 5, name, 15, colour, weight=600))
    path = f"M{u.centre - inner:.1f},{u.base:.1f} H{u.centre + inner:.1f}"
    parts.append(f'<path d="{path}" stroke="{BOTTLENECK}" stroke-width="3"/>')
    return "".join(parts)


def _label(u: _U, group: int, site: str, shapes: str, size: str, policy: str) -> str:
    """Draws a site's name, shapes and bytes on its bracket, in a pill whose border shows how it is
    stored.
    """
    width, height, y = 340.0, 44.0, u.y(group)
    edge = {FULL: DECODER, POOLED: "#E69F00"}.get(policy, LINE)
    dash = ' stroke-dasharray="5 4"' if policy == NONE else ""
    colour = BOTTLENECK if site == "h" else INK
    kept = (
        f"  ·  stored {policy}"
        if policy and policy != NONE
        else ("  ·  not stored" if policy else "")
    )
    return (
        f'<rect x="{u.centre - width / 2}" y="{y - height / 2}" width="{width}" height="{height}"'
        f' rx="10" fill="{PAPER}" stroke="{edge}" stroke-width="2"{dash}/>'
        + _text(u.centre, y - 3, f"{site}  ·  {size}{kept}", 14, colour, weight=600)
        + _text(u.centre, y + 14, shapes, 12, MUTED)
    )


def _text(x: float, y: float, text: str, size: int, colour: str, weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="middle" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _svg(width: float, height: float, parts: list[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}"'
        f' width="{width:.0f}" height="{height:.0f}" font-family="{FONT}"'
        f' role="img"><title>{escape(title)}</title><rect width="100%" height="100%" rx="14"'
        f' fill="{PAPER}"/>{"".join(parts)}</svg>'
    )
