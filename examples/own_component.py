"""A model whose decoder is a component of your own: python examples/own_component.py OUT STEPS.

It is saved, carried, frozen and hashed as the component `decoder`.
"""

import sys

import torch

import expedition


class Brightness(expedition.Prediction):
    """The latents need only tell how bright each picture is."""

    def __init__(self, space, encoder, config) -> None:
        super().__init__()
        self.head = torch.nn.Linear(config.features, 1)

    def losses(self, seen: expedition.Seen) -> dict[str, torch.Tensor]:
        brightness = seen.rows["image"].float().mean((2, 3, 4)) / 255  # (B, T)
        return {"brightness": (self.head(seen.features).squeeze(-1) - brightness).square()}


if __name__ == "__main__":
    out, steps = sys.argv[1], int(sys.argv[2])
    explorer = expedition.pretrain(
        out,
        env="catch-pixels",
        steps=steps,
        size="tiny",
        agent={"model": {"predicts": "own_component:Brightness"}},
        training={"probe_updates": 0, "image_size": 32},
    )
    print(f"explored for {explorer.step} steps: {out}")
