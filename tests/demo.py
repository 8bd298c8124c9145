"""./dev demo: compile a trained lander policy, run it, and show in a table what happened.

With --bench only the microseconds, for several numbers of samples."""
import os
import sys
import tempfile
import time

import numpy as np

import nfcc

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "models", "lander_nfbc.onnx")


def microseconds(call, seconds=0.3):
    """The best of many batches of calls."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(20):
            call()
        best = min(best, (time.perf_counter() - start) / 20)
    return best * 1e6


def per_action(policy, obs, samples):
    prepared = policy.prepare(obs=obs)
    noise = nfcc.Noise(seed=1)
    x = np.empty((samples, *policy.info.event.shape), np.float32)
    log_prob = np.empty(samples, np.float32)
    return microseconds(lambda: prepared.sample_and_log_prob(samples, noise=noise, out=(x, log_prob))) / samples


def worst(value, reference):
    return float(np.abs(value - reference).max())


def table(rows):
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name:{width}}  {value}")


def errors(policy, rows):
    obs, noise = rows["obs"], rows["noise"]
    z, log_det = policy.to_latent(rows["x"], obs=obs)
    x, log_prob = policy.sample_and_log_prob(z=noise, obs=obs)
    back, _ = policy.to_event(z, obs=obs)
    return [("to_latent: z", f"{worst(z, rows['z']):.1e} from float64 PyTorch on {len(obs)} rows"),
            ("to_latent: log_det", f"{worst(log_det, rows['logdet']):.1e}"),
            ("log_prob", f"{worst(policy.log_prob(rows['x'], obs=obs), rows['log_prob']):.1e}"),
            ("sample_and_log_prob: x", f"{worst(x, rows['sample']):.1e}"),
            ("sample_and_log_prob: log_prob", f"{worst(log_prob, rows['sample_log_prob']):.1e}"),
            ("round trip x -> z -> x", f"{worst(back, rows['x']):.1e}")]


def main():
    bench = "--bench" in sys.argv[1:]
    rows = np.load(MODEL[:-5] + ".npz")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "policy.so")
        start = time.perf_counter()
        policy = nfcc.compile(MODEL, path, clip=(-1, 1))
        seconds = time.perf_counter() - start
        obs = rows["obs"][0]
        speed = [(f"{n} samples a call" if n > 1 else "one sample a call",
                  f"{per_action(policy, obs, n):.1f} microseconds per action")
                 for n in ((1, 64, 1024) if bench else (1, 64))]
        if bench:
            table(speed)
            return
        print(f"\nlander_nfbc: a flow policy trained by imitation; only its density direction was exported.\n\n"
              f"nfcc {os.path.basename(MODEL)} -o policy.so --clip -1,1")
        print(policy.report.replace(folder + os.sep, ""))
        action = policy.act(noise=nfcc.Noise(seed=1), obs=obs)
        policy.selftest()
        print("run through the Python package, largest difference:")
        table(errors(policy, rows) + speed + [("an action", np.array2string(action, precision=3)),
                                              ("self test", "the golden rows are equal, bit for bit"),
                                              ("compile", f"{seconds:.2f} s, "
                                                          f"policy.so {os.path.getsize(path) / 1e6:.2f} MB")])


if __name__ == "__main__":
    main()
