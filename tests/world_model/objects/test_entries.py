"""Sets of objects in encoder, decoder and model, as graphs and plain."""

import dataclasses

import numpy as np
import pytest
import torch
from gymnasium import spaces

from expedition import UserError
from expedition.pointing import Pointing
from world_model import WorldModel, WorldModelConfig
from world_model.decoder import Decoder
from world_model.distributions import symlog
from world_model.encoder import Encoder
from world_model.sizes import ObjectsConfig

CONFIG = WorldModelConfig(
    deter=16, hidden=8, stoch=2, classes=4, blocks=2, units=12, depth=2, vector_layers=2
)
WIDTH = 3


def settings(**objects):
    return dataclasses.replace(CONFIG, objects=ObjectsConfig(**{"units": 8, **objects}))


def space(count, mask=True, **others):
    seen = {"blocks": spaces.Box(-np.inf, np.inf, (count, WIDTH), np.float32)}
    if mask:
        seen["blocks_mask"] = spaces.MultiDiscrete([2] * count, dtype=np.uint8)
    return spaces.Dict(list((seen | others).items()))


def rows(count, exists=None, batch=2, time=3):
    torch.manual_seed(1)
    exists = [1] * count if exists is None else exists
    mask = torch.tensor(exists, dtype=torch.uint8).expand(batch, time, count)
    return {"blocks": torch.randn(batch, time, count, WIDTH), "blocks_mask": mask}


def permuted(seen, order):
    return {key: value[:, :, order] for key, value in seen.items()}


class TestReading:
    def test_without_numbers_a_graph_does_not_see_the_order(self):
        seen, order = rows(4, [1, 0, 1, 1]), torch.tensor([2, 3, 1, 0])
        blind, numbered = (Encoder(space(4), settings(numbered=n)) for n in (False, True))
        torch.testing.assert_close(blind(permuted(seen, order)), blind(seen))
        assert (numbered(permuted(seen, order)) - numbered(seen)).abs().max() > 1e-3

    @pytest.mark.parametrize("numbered", [False, True])
    def test_weights_of_a_graph_read_more_objects(self, numbered):
        config = settings(numbered=numbered)
        few, many = Encoder(space(3), config), Encoder(space(6), config)
        many.load_state_dict(few.state_dict())
        seen = rows(6, [1, 0, 1, 0, 0, 0])
        torch.testing.assert_close(many(seen), few({key: x[:, :, :3] for key, x in seen.items()}))

    def test_weights_of_a_plain_encoder_do_not(self):
        few, many = (Encoder(space(count), settings(kind="plain")) for count in (3, 6))
        with pytest.raises(RuntimeError, match="size mismatch"):
            many.load_state_dict(few.state_dict())

    def test_plain_is_the_mlp_on_rows_and_mask(self):
        encoder, seen = Encoder(space(4), settings(kind="plain")), rows(4, [1, 0, 1, 1])
        known = seen["blocks"] * seen["blocks_mask"][..., None]
        numbers = torch.cat([known.flatten(-2), seen["blocks_mask"].float()], -1)
        torch.testing.assert_close(encoder(seen), encoder.mlp(symlog(numbers)))

    @pytest.mark.parametrize("kind", ["graph", "plain"])
    def test_who_does_not_exist_is_not_read(self, kind):
        encoder, seen = Encoder(space(4), settings(kind=kind)), rows(4, [1, 0, 1, 1])
        before = encoder(seen)
        seen["blocks"][:, :, 1] = torch.nan
        seen["blocks"].requires_grad_()
        torch.testing.assert_close(encoder(seen), before)
        encoder(seen).square().sum().backward()
        felt = seen["blocks"].grad.abs().sum((0, 1, 3)) > 0
        assert felt.tolist() == [True, False, True, True]

    def test_without_a_mask_all_exist(self):
        torch.manual_seed(0)
        masked, bare = Encoder(space(4), settings()), Encoder(space(4, mask=False), settings())
        bare.load_state_dict(masked.state_dict())
        torch.testing.assert_close(bare({"blocks": rows(4)["blocks"]}), masked(rows(4)))

    @pytest.mark.parametrize("kind", ["graph", "plain"])
    def test_other_observations_count_beside_them(self, kind):
        observations = space(4, goal=spaces.Box(-1, 1, (2,), np.float32))
        encoder, seen = Encoder(observations, settings(kind=kind)), rows(4)
        before = encoder(seen | {"goal": torch.zeros(2, 3, 2)})
        assert before.shape == (2, 3, encoder.width)
        assert (encoder(seen | {"goal": torch.ones(2, 3, 2)}) - before).abs().max() > 1e-3


class TestPredicting:
    @pytest.mark.parametrize("kind", ["graph", "plain"])
    def test_losses_by_hand(self, kind):
        decoder, seen = Decoder(space(4), settings(kind=kind)), rows(4, [1, 0, 1, 1])
        features = torch.randn(2, 3, CONFIG.features)
        predicted, losses = decoder(features), decoder.loss(features, seen)
        assert {key: tuple(x.shape) for key, x in predicted.items()} == {
            "blocks": (2, 3, 4, WIDTH),
            "blocks_mask": (2, 3, 4),
        }
        squares = (predicted["blocks"] - symlog(seen["blocks"])).square().sum(-1)  # (B, T, n)
        torch.testing.assert_close(losses["blocks"], squares[..., 0] + squares[..., 2] + squares[..., 3])
        chance = predicted["blocks_mask"].sigmoid()
        nats = -torch.where(seen["blocks_mask"] == 1, chance, 1 - chance).log().sum(-1)
        torch.testing.assert_close(losses["blocks_mask"], nats)

    def test_weights_of_a_graph_predict_more_rows(self):
        few, many = Decoder(space(3), settings()), Decoder(space(6), settings())
        many.load_state_dict(few.state_dict())
        features = torch.randn(2, 3, CONFIG.features)
        for key, prediction in few(features).items():
            torch.testing.assert_close(many(features)[key][:, :, :3], prediction)

    @pytest.mark.parametrize("kind", ["graph", "plain"])
    def test_who_does_not_exist_teaches_nothing(self, kind):
        decoder, seen = Decoder(space(4), settings(kind=kind)), rows(4, [1, 0, 1, 1])
        features = torch.randn(2, 3, CONFIG.features)
        before = decoder.loss(features, seen)["blocks"]
        seen["blocks"][:, :, 1] = torch.nan
        torch.testing.assert_close(decoder.loss(features, seen)["blocks"], before)

    def test_in_the_units_of_the_environment(self):
        decoder = Decoder(space(4), settings())
        assert decoder.observed("blocks", torch.tensor([[1.0]])).item() == pytest.approx(np.e - 1)
        assert decoder.observed("blocks_mask", torch.tensor([-1.0, 2.0])).tolist() == [0, 1]


def test_a_model_of_few_objects_fits_more_of_them():
    def model(count):
        torch.manual_seed(count)
        return WorldModel(space(count), Pointing([2, count], {1: "blocks"}), settings())

    few, many = model(3), model(7)
    many.load_state_dict(few.state_dict())
    batch = rows(7, [1, 0, 1, 0, 0, 0, 0])
    action = torch.nn.functional.one_hot(torch.tensor([1, 2]), 7).float()  # factors: of 2, and of rows
    wide = torch.cat([torch.tensor([[0.0, 1.0], [1.0, 0.0]]), action], -1)[:, None].expand(2, 3, 9)
    flags = {name: torch.zeros(2, 3, dtype=torch.bool) for name in ("is_first", "is_last", "is_terminal")}
    batch |= {"action": wide, **flags}
    narrow = {key: x[:, :, :3] if key in ("blocks", "blocks_mask") else x for key, x in batch.items()}
    narrow["action"] = wide[..., :5]
    noise = torch.rand(2, 3, CONFIG.stoch)
    for a, b in zip(
        few.observe(narrow, few.initial(2), noise)[0],
        many.observe(batch, many.initial(2), noise)[0],
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    losses, _, _, _ = many.loss(batch, noise)
    assert {"reconstruction_blocks", "reconstruction_blocks_mask"} <= set(losses)


@pytest.mark.parametrize(
    ("objects", "words"),
    [({"kind": "tree"}, "way to read objects"), ({"messages": -1}, "messages"), ({"units": 0}, "units")],
)
def test_settings_out_of_range_are_refused(objects, words):
    with pytest.raises(UserError, match=words):
        ObjectsConfig(**objects)
