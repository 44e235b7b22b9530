"""Explore on an intrinsic reward of your own: python examples/own_reward.py OUT STEPS."""

import sys

import torch

import expedition


class Change(expedition.IntrinsicReward):
    """How far a step moves the features."""

    in_imagination = True

    def __init__(self, space, model) -> None:
        super().__init__()

    def reward_of(self, x: expedition.Sequences) -> torch.Tensor:
        return (x.features[:, 1:] - x.features[:, :-1]).norm(dim=-1)  # (B, T - 1), of the transitions


if __name__ == "__main__":
    out, steps = sys.argv[1], int(sys.argv[2])
    explorer = expedition.pretrain(
        out, env="catch-vector", intrinsic="own_reward:Change", steps=steps, size="tiny"
    )
    print(f"explored for {explorer.step} steps: {out}")
