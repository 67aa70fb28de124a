"""On a CUDA device an extraction and renders give what they give on the CPU, in float32."""

import numpy as np
import pytest
import torch
from recipe_kinds import cells_of

from hcache.extraction.run import extract
from hcache.models.loading import load_model

pytestmark = pytest.mark.gpu

DEVICE = "cuda"

LEVELS = 2
"""The largest difference of a pixel, of 255. Devices add up in another order."""


@pytest.fixture
def on_device(tiny_folder, monkeypatch):
    """The tiny model on the device, with all digits of float32 in convolutions."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return load_model(str(tiny_folder), device=DEVICE)


def assert_near(pictures, like):
    apart = np.abs(np.asarray(pictures, np.int64) - np.asarray(like, np.int64))
    assert apart.max() <= LEVELS, f"a pixel differs by {apart.max()} of 255"


def test_an_extraction_is_near_that_of_the_cpu(on_device, tiny_spec, tiny_run, tmp_path):
    """Pictures, h, skips and the way of x; and it is the same run by name."""
    assert on_device.device.type == DEVICE
    run = extract(on_device, tiny_spec, tmp_path)
    assert run.complete and run.name == tiny_run.name
    assert_near(run.images, tiny_run.images)
    for site in ("h", "skip.1"):
        for step in range(run.spec.steps):
            found, expected = run.matrix(site, step), tiny_run.matrix(site, step)
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2 * scale)
    np.testing.assert_allclose(run.trajectory(7), tiny_run.trajectory(7), atol=2e-2)


def test_every_kind_of_render_is_near_that_of_the_cpu(
    on_device, tiny_run, recipes, cells, direction
):
    """Moves, swaps, masks and distances, from a run that was extracted on the CPU."""
    found = cells_of(on_device, tiny_run, recipes, direction)
    assert set(found) == set(cells)
    for kind, cell in found.items():
        assert_near(cell.picture, cells[kind].picture)
