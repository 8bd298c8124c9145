"""The trained lander policy for a closed-loop evaluation: policy(obs[8], noise[8]) -> 4 steps x 2 actions.

    python eval_closed_loop.py --policy tests/lander_policy.py:policy --out mine.json --compare reference.json
"""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "runtime", "python"))
import nfcc  # noqa: E402

_lander = nfcc.compile(os.path.join(HERE, "models", "lander_nfbc.onnx"), clip=(-1, 1))


def policy(obs, noise):
    return _lander.act(z=noise, obs=obs).reshape(4, 2)
