"""What is predicted along an unroll: which rows, by which actions, against which target, and what learns."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium import spaces

from world_model import PredictionConfig, WorldModel, for_size

BATCH, TIME, STEPS = 2, 8, 3
SPACE = spaces.Dict({"vector": spaces.Box(-np.inf, np.inf, (4,), np.float32)})
SMALL = for_size("tiny", deter=16, hidden=8, units=8, stoch=4, classes=4, blocks=2, vector_layers=1)


def make(predicts="spr", stride=2, steps=STEPS, **settings):
    torch.manual_seed(0)
    prediction = PredictionConfig(steps=steps, stride=stride, **settings)
    config = dataclasses.replace(SMALL, predicts=predicts, prediction=prediction)
    return WorldModel(SPACE, spaces.Discrete(3), config)


def rows(first=(), seed=0):
    """Sequences that begin with an episode, and in which others begin at `first`: pairs (b, t)."""
    rng = np.random.default_rng(seed)
    made = {"vector": torch.tensor(rng.normal(size=(BATCH, TIME, 4)), dtype=torch.float32)}
    made["action"] = F.one_hot(torch.tensor(rng.integers(3, size=(BATCH, TIME))), 3).float()
    for flag in ("is_first", "is_terminal"):
        made[flag] = torch.zeros(BATCH, TIME, dtype=torch.bool)
    made["is_first"][:, 0] = True
    for b, t in first:
        made["is_first"][b, t] = True
    return made


def noises(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    steps, begun = model.decoder.unrolled(TIME)
    return (
        torch.rand(BATCH, TIME, 4, generator=generator),
        torch.rand(steps, BATCH, begun, 4, generator=generator),
    )


def losses(model, batch):
    return model.loss(batch, *noises(model))[0]


@pytest.mark.parametrize(
    ("length", "steps", "stride", "expected"),
    [(8, 3, 2, (3, 3)), (8, 3, 1, (3, 5)), (16, 5, 2, (5, 6)), (4, 5, 2, (3, 1)), (64, 5, 2, (5, 30))],
)
def test_how_many_rows_are_predicted_from_how_many(length, steps, stride, expected):
    assert make(steps=steps, stride=stride).decoder.unrolled(length) == expected


@pytest.mark.parametrize("predicts", ["reconstruction", "barlow", "none"])
def test_the_others_predict_nothing_ahead(predicts):
    assert make(predicts).decoder.unrolled(16) == (0, 0)


def test_the_unroll_follows_the_replayed_actions_from_each_start():
    model, batch = make(), rows()
    posterior, ahead = noises(model)
    latents, *_ = model.observe(batch, model.initial(BATCH), posterior)
    found = model.unroll(latents, batch["action"], ahead)
    assert [features.shape for features in found] == [(BATCH, 3, SMALL.features)] * STEPS
    for start, t in enumerate((0, 2, 4)):  # after 5 no three rows follow
        latent = latents.map(lambda x, t=t: x[:, t])
        for k in range(1, STEPS + 1):
            latent = model.dynamics.predict(latent, batch["action"][:, t + k], ahead[k - 1, :, start])
            torch.testing.assert_close(found[k - 1][:, start], latent.features)


@pytest.mark.parametrize("predicts", ["spr", "contrastive"])
def test_the_loss_row_by_row(predicts):
    """Both equations in numpy, one start, one step and one key at a time."""
    model, batch = make(predicts, temperature=0.5), rows(first=[(1, 4)])
    posterior, ahead = noises(model)
    latents, *_ = model.observe(batch, model.initial(BATCH), posterior)
    features = model.unroll(latents, batch["action"], ahead)
    heads = model.decoder
    keys = heads.target[1](heads.target[0](batch)).numpy()
    expected, counted = np.zeros((BATCH, 3)), 0
    for b in range(BATCH):
        for start, t in enumerate((0, 2, 4)):
            for k in range(1, STEPS + 1):
                if batch["is_first"][b, t + 1 : t + k + 1].any():
                    continue  # another episode
                counted += 1
                said = heads.predictor(heads.projection(heads.to_embedding(features[k - 1][b, start])))
                said = said.detach().numpy()

                def cosine(key, said=said):
                    return key @ said / np.linalg.norm(key) / np.linalg.norm(said)

                if predicts == "spr":
                    expected[b, start] += 10 * (2 - 2 * cosine(keys[b, t + k]))
                else:
                    scores = np.exp([cosine(key) / 0.5 for key in keys.reshape(BATCH * TIME, -1)])
                    expected[b, start] -= np.log(scores[b * TIME + t + k] / scores.sum())
    assert counted == 18 - 2  # from row 2 of the second, rows 4 and 5 are another episode's
    np.testing.assert_allclose(losses(model, batch)[predicts].detach(), expected, rtol=1e-4, atol=1e-5)


def test_what_happens_after_an_episodes_end_changes_nothing_before_it():
    model, batch = make(stride=1), rows(first=[(0, 3), (1, 6)])
    before = losses(model, batch)["spr"]
    other = rows(seed=1)
    changed = copy.deepcopy(batch)
    for b, t in ((0, 3), (1, 6)):
        for key in ("vector", "action"):
            changed[key][b, t:] = other[key][b, t:]
    after = losses(model, changed)["spr"]
    # starts are the rows 0 to 4: of the first sequence 0, 1, 2 lie before the end, of the second all
    assert torch.equal(before[0, :3], after[0, :3])
    assert torch.equal(before[1], after[1])
    assert (before[0, 3:] != after[0, 3:]).all()
    assert before[0, 2] == 0  # its next row begins another episode
    changed["vector"][1, 5] += 1  # the last row of an episode does count
    assert not torch.equal(losses(model, changed)["spr"][1], after[1])


@pytest.mark.parametrize("predicts", ["spr", "contrastive", "barlow"])
def test_the_gradient_reaches_encoder_and_dynamics_but_no_target(predicts):
    model, batch = make(predicts), rows()
    losses(model, batch)[predicts].mean().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    parts = {"encoder.", "dynamics.core.", "dynamics.posterior_out", "decoder.projection"}
    parts |= (
        {"dynamics.prior_net", "decoder.predictor", "decoder.to_embedding"} if predicts != "barlow" else set()
    )
    for part in parts:
        assert any(name.startswith(part) for name in reached), part
    assert not [name for name in reached if ".target." in name]
    assert not [name for name in reached if name.startswith(("reward", "continuation"))]


def test_the_target_begins_as_what_it_follows_and_follows_it():
    model = make(decay=0.75)
    heads = model.decoder
    pairs = list(
        zip(
            heads.target.parameters(),
            [*model.encoder.parameters(), *heads.projection.parameters()],
            strict=True,
        )
    )
    assert all(torch.equal(slow, fast) for slow, fast in pairs)
    assert not any(slow.requires_grad for slow, _ in pairs)
    old = [slow.clone() for slow, _ in pairs]
    with torch.no_grad():
        for _, fast in pairs:
            fast.add_(1.0)
    heads.follow(model.encoder)
    for (slow, _), was in zip(pairs, old, strict=True):
        torch.testing.assert_close(slow, was + 0.25)
    heads.projection.requires_grad_(False)  # a component that rests moves in no part
    heads.follow(model.encoder)
    torch.testing.assert_close(pairs[0][0], old[0] + 0.25)
    heads.projection.requires_grad_(True)
    heads.follow(model.encoder, share=1.0)
    assert all(torch.equal(slow, fast) for slow, fast in pairs)


def test_the_target_reads_the_observation_and_not_the_model():
    model, batch = make(), rows()
    before = losses(model, batch)["spr"]
    with torch.no_grad():
        for p in model.decoder.target.parameters():
            p.mul_(-2.0)
    assert not torch.equal(losses(model, batch)["spr"], before)


def test_nothing_predicted_costs_nothing():
    found = losses(make("none"), rows())
    assert set(found) == {"dynamics_kl", "representation_kl", "continue"}
    assert list(make("none").decoder.state_dict()) == []
