"""Load an explorer and act for an episode: python examples/load_and_act.py RUN."""

import sys

import expedition

explorer = expedition.load(sys.argv[1])  # a run, an exported folder, or hf:OWNER/NAME
env = explorer.env()
observation, _ = env.reset(seed=0)
total, ended = 0.0, False
while not ended:
    observation, reward, terminated, truncated, _ = env.step(explorer.act(observation))
    total, ended = total + float(reward), terminated or truncated
print(f"return {total:g}")
