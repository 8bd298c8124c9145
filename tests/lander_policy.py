"""The trained lander policy for a closed-loop evaluation: policy(obs[8], noise[8]) -> 4 steps x 2 actions.

    python eval_closed_loop.py --policy tests/lander_policy.py:policy --out mine.json --compare reference.json

`policy` samples and clips, `denoised` takes one denoising step in between (the step of its training noise, 0.1).
"""
import functools
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "runtime", "python"))
import nfcc  # noqa: E402


@functools.lru_cache(None)
def _lander(**options):
    return nfcc.compile(os.path.join(HERE, "models", "lander_nfbc.onnx"), clip=(-1, 1), **options)


def policy(obs, noise):
    return _lander().act(z=noise, obs=obs).reshape(4, 2)


def denoised(obs, noise):
    return _lander(denoise=0.1).act(z=noise, obs=obs).reshape(4, 2)
