"""The commands ``models`` and ``anatomy``."""

from __future__ import annotations

import argparse
from typing import Any

from ..cache.plan import format_bytes, site_bytes
from ..cards import find_card, load_cards
from ..specs import FULL, POOLED
from .result import Result, table
from .spec_options import MODEL, add_additions, added


def models(_: argparse.Namespace) -> Result:
    """Lists the models that have a name."""
    cards = load_cards().values()
    names = ("name", "title", "kind", "summary", "source", "get", "licence")
    data = [{name: getattr(card, name) for name in names} for card in cards]
    return Result(
        text=table([(c.name, c.kind, c.summary) for c in cards], ("model", "kind", "what it is")),
        data=data,
    )


def anatomy(arguments: argparse.Namespace) -> Result:
    """Prints a model's sites, shapes and bytes, from its configuration."""
    from ..models.loading import load_anatomy

    card, found = find_card(arguments.model), load_anatomy(arguments.model, **added(arguments))
    rows, sites = [], {}
    for site in found.storable:
        full, pooled = (site_bytes(found, site, policy, 2) for policy in (FULL, POOLED))
        shapes = [found.shape(member) for member in found.members(site)]
        sites[site] = {"shapes": shapes, "float16_bytes": full, "pooled_bytes": pooled}
        rows.append(
            (
                site,
                " ".join("x".join(map(str, s)) for s in shapes),
                format_bytes(full),
                format_bytes(pooled),
            )
        )
    head = (
        f"{card.name}: {found.parameters / 1e6:.2f} M parameters, x {'x'.join(map(str, found.x))}\n"
    )
    text = (
        head
        + table(rows, ("site", "shapes", "full", "pooled"))
        + "\n(bytes per sample and step, in float16)"
    )
    if found.without:
        text += f"\nno h-space: {found.without}"
    data = {
        "model": card.name,
        "parameters": found.parameters,
        "x": found.x,
        "image": found.image,
        "sites": sites,
        "without": found.without,
    }
    return Result(text=text, data=data)


def add_models(command: Any) -> None:
    """Adds the commands ``models`` and ``anatomy``."""
    command("models", models, "List the models that have a name.", home=False)
    child = command("anatomy", anatomy, "Show a model's sites, their shapes and bytes.", home=False)
    child.add_argument("model", help=MODEL)
    add_additions(child)
