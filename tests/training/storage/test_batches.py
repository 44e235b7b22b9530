"""What is drawn for the learner: the replay's own draws, without the task's names; on a GPU the same."""

import numpy as np
import pytest
import torch

from training import Replay
from training.storage.batches import draw

SPEC = {
    "image": ((4, 4, 3), np.dtype(np.uint8)),
    "action": ((3,), np.dtype(np.float32)),
    "task/reward": ((), np.dtype(np.float32)),
    "is_first": ((), np.dtype(bool)),
}
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


def replay():
    rng, it = np.random.default_rng(0), Replay(2, SPEC, 2**16)
    for _ in range(40):
        it.add(
            {
                "image": rng.integers(0, 256, (2, 4, 4, 3), np.uint8),
                "action": rng.normal(size=(2, 3)).astype(np.float32),
                "task/reward": np.ones(2, np.float32),
                "is_first": rng.random(2) < 0.3,
            }
        )
    return it


@pytest.mark.parametrize("device", DEVICES)
def test_the_learner_gets_what_the_replay_draws_and_no_task(device):
    it, one, two = replay(), np.random.default_rng(1), np.random.default_rng(1)
    batches = [draw(it, 3, 5, one, torch.device(device)) for _ in range(4)]
    for batch in batches:  # looked at when all are under way: none may be written over
        expected = it.sample(3, 5, two)
        assert batch.keys() == {"image", "action", "is_first"}
        for name, value in batch.items():
            arrived = torch.as_tensor(value)
            assert arrived.device.type == device
            np.testing.assert_array_equal(arrived.cpu().numpy(), expected[name])
            assert arrived.cpu().numpy().dtype == expected[name].dtype
    assert one.bit_generator.state == two.bit_generator.state
