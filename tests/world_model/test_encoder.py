"""Encoders: shapes, which observation goes where, and each stage against its composed form."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from world_model import WorldModelConfig
from world_model.encoder import Encoder
from world_model.nets import NORM_EPS

CONFIG = WorldModelConfig(
    deter=16, hidden=8, stoch=2, classes=4, blocks=2, units=12, depth=2, vector_layers=2
)


def space(*names):
    boxes = {
        "image": spaces.Box(0, 255, (32, 48, 3), np.uint8),
        "mask": spaces.Box(0, 255, (32, 48, 1), np.uint8),
        "vector": spaces.Box(-np.inf, np.inf, (4,), np.float32),
        "goal": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    }
    return spaces.Dict({name: boxes[name] for name in names})


def rows(observation_space, batch=2, time=3, seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for key, box in observation_space.spaces.items():
        shape = (batch, time, *box.shape)
        values = rng.integers(256, size=shape) if box.dtype == np.uint8 else rng.normal(size=shape)
        made[key] = torch.tensor(values.astype(box.dtype))
    return made


def config(style):
    return WorldModelConfig(**{**CONFIG.__dict__, "conv": style})


@pytest.mark.parametrize("style", ["pooled", "strided"])
@pytest.mark.parametrize(
    "names", [("image",), ("vector",), ("image", "vector"), ("image", "mask", "vector", "goal")]
)
def test_every_element_of_every_observation_counts(style, names):
    torch.manual_seed(0)
    observations = space(*names)
    encoder = Encoder(observations, config(style))
    batch = rows(observations)
    embeddings = encoder(batch)
    assert embeddings.shape == (2, 3, encoder.width)
    for name in names:
        changed = {key: value.clone() for key, value in batch.items()}
        changed[name][1, 2] = 255 - changed[name][1, 2] if changed[name].dtype == torch.uint8 else 3.0
        moved = (encoder(changed) - embeddings).abs().sum(-1) > 1e-4
        assert moved.tolist() == [[False] * 3, [False, False, True]]


@pytest.mark.parametrize("style", ["pooled", "strided"])
def test_image_stages_composed(style):
    torch.manual_seed(0)
    observations = space("image")
    encoder = Encoder(observations, config(style))
    batch = rows(observations)
    x = batch["image"].flatten(0, 1).permute(0, 3, 1, 2).contiguous().float() / 255 - 0.5
    for stage in encoder.convolutions:
        weight, bias = stage.conv.weight, stage.conv.bias
        if style == "pooled":
            x = F.max_pool2d(F.conv2d(x, weight, bias, padding=2), 2)
        else:
            x = F.conv2d(x, weight, bias, stride=2, padding=1)
        x = F.rms_norm(x.permute(0, 2, 3, 1), x.shape[1:2], stage.norm.weight, NORM_EPS)
        x = F.silu(x).permute(0, 3, 1, 2)
    assert x.shape == (6, {"pooled": 8, "strided": 16}[style], 2, 3)
    expected = x.permute(0, 2, 3, 1).reshape(2, 3, -1)
    torch.testing.assert_close(encoder(batch), expected, rtol=1e-4, atol=1e-5)


def test_vectors_are_squashed():
    torch.manual_seed(0)
    encoder = Encoder(space("vector"), CONFIG)
    batch = {"vector": 1e4 * torch.randn(1, 1, 4)}
    squashed = torch.sign(batch["vector"]) * torch.log1p(batch["vector"].abs())
    torch.testing.assert_close(encoder(batch), encoder.mlp(squashed))
