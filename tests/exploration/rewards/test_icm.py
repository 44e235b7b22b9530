"""The curiosity module against its equations."""

import pytest
import torch

from exploration import ICM, ICMConfig, Sequences, Sizes

SIZES = Sizes(0, 0, 5, 2, factors=(2,), units=6)


def make(beta=0.2):
    torch.manual_seed(0)
    return ICM(SIZES, ICMConfig(outputs=3, beta=beta))


def rows(batch=2, time=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(batch, time, 5, generator=generator)
    actions = torch.eye(2)[torch.randint(2, (batch, time), generator=generator)]
    is_first = torch.zeros(batch, time, dtype=torch.bool)
    is_first[0, 0] = is_first[1, 2] = True
    return {"action": actions, "is_first": is_first}, embeddings


class Known(torch.nn.Module):
    """A network that gives what it is told to."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def test_reward_on_worked_numbers():
    module = make()
    module.inverse.features = Known(lambda e: e[..., :3])
    module.forward_model = Known(lambda x: x[..., :3] + x[..., 3:4])  # features before plus the first action
    embeddings = torch.tensor([[[1.0, 0, 0, 9, 9], [1, 2, 0, 9, 9], [4, 4, 0, 9, 9]]])
    actions = torch.tensor([[[0.0, 0], [1, 0], [0, 1]]])
    batch = {"action": actions, "is_first": torch.tensor([[True, False, False]])}
    # row 1: predicted (2, 1, 1), seen (1, 2, 0): 3 / 2; row 2: predicted (1, 2, 0), seen (4, 4, 0): 13 / 2
    assert module.reward(None, actions, batch, embeddings).tolist() == [[0.0, 1.5, 6.5]]
    assert module.loss(None, batch, embeddings)["icm_forward"].tolist() == [
        [0.0, pytest.approx(0.3), pytest.approx(1.3)]
    ]


def test_losses_are_weighted_and_first_rows_teach_nothing():
    module, (batch, embeddings) = make(beta=0.25), rows()
    losses = module.loss(None, batch, embeddings)
    x = Sequences.of(None, batch["action"], batch, embeddings)
    inverse = module.inverse.error(module.inverse(embeddings), x) * ~batch["is_first"][:, 1:]
    torch.testing.assert_close(losses["icm_inverse"][:, 1:], 0.75 * inverse)
    assert (losses["icm_inverse"][:, 0] == 0).all()
    forward = module.reward(None, batch["action"], batch, embeddings) * ~batch["is_first"]
    torch.testing.assert_close(losses["icm_forward"].detach(), 0.25 * forward)
    assert losses["icm_forward"][1, 2] == losses["icm_inverse"][1, 2] == 0
    assert (losses["icm_forward"][:, 1:] > 0).sum() == 5


def test_both_losses_reach_the_features():
    module, (batch, embeddings) = make(), rows()
    for name in ("icm_forward", "icm_inverse"):
        module.zero_grad()
        module.loss(None, batch, embeddings)[name].sum().backward()
        assert all((p.grad != 0).any() for p in module.inverse.features.parameters())


def test_imagination_is_refused():
    with pytest.raises(ValueError, match="reward head"):
        make().reward(None, torch.zeros(2, 4, 2))
    assert not ICM.in_imagination
