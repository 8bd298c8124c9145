#!/usr/bin/env python3
"""The trained HalfCheetah policy in its simulator, through the Python package: returns beside those of its json.

    tests/cheetah_returns.py ../shared/trained/cheetah_nfpo.onnx [--episodes 100]      # needs gymnasium[mujoco]

Only the density direction was exported; the actions are its derived `sample`. A step of the simulator doubles small
differences, so that no two programs that round differently meet the same episodes (PyTorch's float32 and float64 part
by 1e-3 within 20 steps): what can agree is the distribution, so means are compared, with their standard errors. Uniform
random actions, which no rounding touches, must give the json's returns: then the simulator is the same.
"""
import argparse
import json
import os
import sys

import gymnasium
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "runtime", "python"))
import nfcc  # noqa: E402

STEPS, FIRST_SEED = 1000, 1000


def returns(act, episodes):
    """Of `episodes` seeded episodes in lock-step; act(observations[n, 17], step) -> actions[n, 6]."""
    envs = [gymnasium.make("HalfCheetah-v5") for _ in range(episodes)]
    obs, total = np.array([e.reset(seed=FIRST_SEED + i)[0] for i, e in enumerate(envs)]), np.zeros(episodes)
    for k in range(STEPS):
        steps = [e.step(a) for e, a in zip(envs, np.clip(act(obs, k), -1.0, 1.0))]
        obs = np.array([s[0] for s in steps])
        total += [s[1] for s in steps]
    return total


def same_mean(name, got, reference):
    error = np.hypot(got.std() / len(got) ** 0.5, np.std(reference) / len(reference) ** 0.5)
    apart = abs(got.mean() - np.mean(reference)) / error
    print(f"{name:16} {len(got):4} episodes: {got.mean():8.1f} +- {got.std():.1f}; the json's {len(reference)}: "
          f"{np.mean(reference):8.1f} +- {np.std(reference):.1f}; the means are {apart:.1f} standard errors apart")
    return apart < 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--episodes", type=int, default=50)
    args = parser.parse_args()
    with open(args.model[:-5] + ".json") as f:
        reference = {k: v["returns"] for k, v in json.load(f)["evaluation"]["trained"].items()}
    rng = np.random.default_rng(5)
    uniform = returns(lambda obs, k: rng.uniform(-1, 1, (len(obs), 6)), 10)
    same = np.abs(uniform - reference["uniform_random"]).max() < 0.01
    print("uniform random actions: the simulator is", "the same" if same else "another one; means may differ")
    with nfcc.compile(args.model) as policy:
        noise = np.random.default_rng(1).standard_normal((STEPS, args.episodes, 6)).astype(np.float32)
        good = [same_mean(name, returns(lambda obs, k: policy.sample(z=scale * noise[k], obs=obs.astype(np.float32)),
                                        args.episodes),
                          reference[name]) for name, scale in (("flow_sampled", 1), ("flow_zero_noise", 0))]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
