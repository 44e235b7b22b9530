"""The settings of tiny runs that the tests of transfer share."""

from agents import ActorCriticConfig, AgentConfig, GuidanceConfig, OptimizerConfig
from training import Logistics, TrainingConfig
from world_model import for_size

QUIET = Logistics(device="cpu", wandb="off", progress=False, threads=1)
AGENT = AgentConfig(
    model=for_size("tiny", deter=16, hidden=8, stoch=4, classes=4, blocks=4, units=8, depth=2),
    behaviour=ActorCriticConfig(imagination=3, layers=1, starts=2),
    optimizer=OptimizerConfig(lr=1e-2, warmup=1),
    guidance=GuidanceConfig(updates=5, batch=4, length=6),
)
TRAINING = TrainingConfig(
    num_envs=2,
    batch=4,
    length=8,
    train_ratio=8.0,
    learning_starts=24,
    log_every=20,
    heldout=4,
    context=2,
    open_loop=3,
    evaluation_episodes=1,
    image_size=32,
)
