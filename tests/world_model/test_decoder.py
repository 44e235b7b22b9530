"""Decoders: shapes, targets, and losses by hand."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from world_model import WorldModelConfig
from world_model.decoder import Decoder, UpStage, upsampled_convolution

CONFIG = WorldModelConfig(
    deter=16, hidden=8, stoch=2, classes=4, blocks=2, units=12, depth=2, vector_layers=2
)
IMAGE = spaces.Box(0, 255, (32, 48, 3), np.uint8)
MASK = spaces.Box(0, 255, (32, 48, 1), np.uint8)
VECTOR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
GOAL = spaces.Box(-np.inf, np.inf, (2,), np.float32)


@pytest.mark.parametrize("style", ["pooled", "strided"])
def test_shapes_and_range(style):
    torch.manual_seed(0)
    both = spaces.Dict({"image": IMAGE, "mask": MASK, "vector": VECTOR, "goal": GOAL})
    decoded = Decoder(both, dataclasses.replace(CONFIG, conv=style))(torch.randn(2, 3, 24))
    assert {key: tuple(value.shape) for key, value in decoded.items()} == {
        "image": (2, 3, 32, 48, 3),
        "mask": (2, 3, 32, 48, 1),
        "vector": (2, 3, 4),
        "goal": (2, 3, 2),
    }
    for key in ("image", "mask"):
        assert 0 <= decoded[key].min() < decoded[key].max() <= 1


@pytest.mark.parametrize("style", ["pooled", "strided"])
def test_losses_by_hand(style):
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, conv=style)
    decoder = Decoder(spaces.Dict({"image": IMAGE, "vector": VECTOR}), config)
    features = torch.randn(2, 3, 24)
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(2, 3, 32, 48, 3), dtype=np.uint8)
    vector = (100 * rng.normal(size=(2, 3, 4))).astype(np.float32)
    losses = decoder.loss(features, {"image": torch.tensor(image), "vector": torch.tensor(vector)})
    decoded = {key: value.detach().double().numpy() for key, value in decoder(features).items()}
    expected = ((decoded["image"] - image / 255) ** 2).sum((2, 3, 4))
    np.testing.assert_allclose(losses["image"].detach().numpy(), expected, rtol=1e-5)
    squashed = np.sign(vector) * np.log(1 + np.abs(vector))
    expected = ((decoded["vector"] - squashed) ** 2).sum(-1)
    np.testing.assert_allclose(losses["vector"].detach().numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("style", ["pooled", "strided"])
def test_can_fit_one_picture(style):
    # a spatial layout mixed up between features and pixels could not place a corner
    torch.manual_seed(0)
    decoder = Decoder(spaces.Dict({"image": IMAGE}), dataclasses.replace(CONFIG, conv=style, depth=8))
    features = torch.randn(1, 1, 24)
    image = torch.zeros(1, 1, 32, 48, 3, dtype=torch.uint8)
    image[..., :8, 32:, 0] = 255
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-2)
    for _ in range(60):
        loss = decoder.loss(features, {"image": image})["image"].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() / image.numel() < 0.01


@pytest.mark.parametrize("part", [slice(0, 16), slice(16, 24)])
def test_images_read_both_parts_of_the_state(part):
    torch.manual_seed(0)
    decoder = Decoder(spaces.Dict({"image": IMAGE}), CONFIG)
    features = torch.randn(1, 1, 24)
    changed = features.clone()
    changed[..., part] += 1
    assert not torch.allclose(decoder(features)["image"], decoder(changed)["image"], atol=1e-4)


def test_a_block_of_the_state_feeds_its_own_channels_everywhere():
    torch.manual_seed(0)
    images = Decoder(spaces.Dict({"image": IMAGE}), CONFIG).convolutions
    maps = []
    images.norm_in.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    features = torch.randn(1, 24)
    changed = features.clone()
    changed[:, 8:16] += 1  # the second of two blocks
    images(features), images(changed)
    moved = (maps[0] != maps[1])[0]  # (8 channels, 2, 3)
    assert not moved[:4].any()
    assert moved[4:].all()


@pytest.mark.parametrize(("inputs", "outputs", "shape"), [(5, 7, (4, 4)), (3, 2, (1, 3)), (4, 3, (8, 5))])
def test_upsampled_convolution_equals_the_composed_form(inputs, outputs, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, inputs, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, inputs, 5, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outputs, generator=generator, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=2)
    ours = upsampled_convolution(x, weight, bias)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    expected = torch.autograd.grad(plain, (x, weight, bias), cotangent)
    found = torch.autograd.grad(ours, (x, weight, bias), cotangent)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3, 9])
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_strided_stage_is_a_transposed_convolution(channels, channels_last):
    torch.manual_seed(0)
    stage = UpStage(5, channels, "strided")
    torch.nn.init.normal_(stage.conv.bias)
    x = torch.randn(2, 5, 4, 6)
    x = (x.contiguous(memory_format=torch.channels_last) if channels_last else x).requires_grad_()
    inputs = (x, stage.conv.weight, stage.conv.bias)
    scale = torch.randn(2, channels, 8, 12)
    found, expected = stage(x), F.conv_transpose2d(*inputs, stride=2, padding=1)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((y * scale).sum(), inputs) for y in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_pixel_errors_and_their_gradient_in_double_precision():
    torch.manual_seed(0)
    decoder = Decoder(spaces.Dict({"image": IMAGE}), CONFIG)
    logits = (3 * torch.randn(10, 32, 48, 3)).requires_grad_()
    decoder.convolutions.forward = lambda _: logits
    pixels = torch.randint(0, 256, (2, 5, 32, 48, 3), dtype=torch.uint8)
    exact = logits.detach().double().requires_grad_()
    error = exact.sigmoid().unflatten(0, (2, 5)) - pixels.double() / 255
    expected = error.square().flatten(2).sum(2)
    found = decoder.loss(torch.zeros(2, 5, 24), {"image": pixels})["image"]
    torch.testing.assert_close(found, expected.float())
    scale = torch.randn(2, 5)
    (one,), (two,) = (
        torch.autograd.grad((y * scale).sum(), x) for y, x in ((found, logits), (expected, exact))
    )
    torch.testing.assert_close(one, two.float())
