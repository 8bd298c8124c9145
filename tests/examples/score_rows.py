import numpy as np
import nfcc

policy = nfcc.open("policy.so")
print(policy)  # its entries; policy.info has names and shapes

obs = np.zeros((5, 8), np.float32)
noise = nfcc.Noise(seed=42)
x, log_prob = policy.sample_and_log_prob(obs=obs, noise=noise)          # one action per row
many, _ = policy.sample_and_log_prob(64, obs=obs[0], noise=noise)       # 64 actions for one observation
z, log_det = policy.to_latent(x, obs=obs)
again, _ = policy.to_event(z, obs=obs)
print("round trip", np.abs(again - x).max())
print("log_prob", np.abs(policy.log_prob(x, obs=obs) - log_prob).max())
