"""Look at five steps, dream fifteen, and draw the dream: python examples/dream.py RUN dream.gif."""

import sys

from PIL import Image

import expedition

explorer = expedition.load(sys.argv[1])
env = explorer.env()
observation, _ = env.reset(seed=0)
for _step in range(5):
    observation, *_rest = env.step(explorer.act(observation))
dream = explorer.dream(steps=15)
frames = [Image.fromarray(picture) for picture in explorer.pictures(dream.observations)]
frames[0].save(sys.argv[2], save_all=True, append_images=frames[1:], duration=200)
print("rewards dreamed of:", dream.rewards[1:].round(2))
