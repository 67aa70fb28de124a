"""What a decoder makes of h, on a network whose answer is known."""

import pytest
import torch
from tiny import make_unet, model_of

from hcache.features import Features
from hcache.toyfaces.h_use import first_block_shares, h_use, without_h


@pytest.fixture(scope="module")
def model():
    return model_of(make_unet(sample_size=64))


def test_the_parts_of_the_first_convolution_add_up_to_it(model):
    """With the kernel of one part at 0 that part is 0, and the other is as it was."""
    features = model.encode(torch.randn(3, *model.anatomy.x, generator=torch.manual_seed(0)), 500)
    h, skip = first_block_shares(model, features)
    resnet = model.network.up_blocks[0].resnets[0]
    before = resnet.conv1.weight.detach().clone()
    try:
        with torch.no_grad():
            resnet.conv1.weight[:, : features.h.shape[1]] = 0
        assert first_block_shares(model, features) == (0, pytest.approx(skip))
    finally:
        with torch.no_grad():
            resnet.conv1.weight.copy_(before)
    assert h > 0 and skip > 0 and first_block_shares(model, features) == (h, skip)


def test_without_h_every_sample_has_the_same(model):
    features = model.encode(torch.randn(3, *model.anatomy.x), 500)
    removed = without_h(features, None)
    assert isinstance(removed, Features) and torch.equal(removed.h[0], removed.h[2])
    assert torch.allclose(removed.h[0], features.h.mean(0))
    assert all(torch.equal(a, b) for a, b in zip(removed.skips[0], features.skips[0], strict=True))


def test_a_decoder_that_ignores_h_loses_nothing_without_it(model):
    """With the last convolution at 0 no picture depends on h, and no reading changes."""
    out = model.network.conv_out
    before = out.weight.detach().clone()
    used = h_use(model, samples=4, steps=3)
    try:
        with torch.no_grad():
            out.weight.zero_()
        ignored = h_use(model, samples=4, steps=3)
    finally:
        with torch.no_grad():
            out.weight.copy_(before)
    assert max(ignored["without"].values()) == 0 < max(used["without"].values())
    assert len(used["first_block"]) == 3 and used["samples"] == 4
