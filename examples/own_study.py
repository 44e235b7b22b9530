"""A study of your own: python examples/own_study.py OUT STEPS."""

import sys

import expedition

if __name__ == "__main__":
    out, steps = sys.argv[1], int(sys.argv[2])
    summary = expedition.run_study(
        {
            "base": "quickstart",
            "env": "catch-vector",
            "intrinsic": "rnd",
            "seeds": 1,
            "pretrain_steps": steps,
            "finetune_steps": steps,
            "conditions": ["scratch", "model"],
            "finetune": {"evaluate_every": 0},
        },
        out,
    )
    print(summary["answer"]["sentence"])
