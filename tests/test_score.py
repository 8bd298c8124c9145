"""score, denoised policies and the caller's units, on real policies against float64 references and against each
other."""
import os

import numpy as np
import pytest

import nfcc
from zoo import Model

SIGMA = 0.1


@pytest.fixture(scope="module")
def model(tool):
    return Model(tool.model("lander_nfbc"))


@pytest.fixture(scope="module")
def plain(tool, tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "policy.so"
    tool(tool.model("lander_nfbc"), "-o", path, "--clip", "-1,1")
    return nfcc.open(path)


@pytest.fixture(scope="module")
def denoised(tool, tmp_path_factory):
    path = tmp_path_factory.mktemp("denoised") / "policy.so"
    done = tool(tool.model("lander_nfbc"), "-o", path, "--clip", "-1,1", "--denoise", SIGMA)
    assert "denoise: act is x + 0.1^2 score(x)" in done.stdout
    return nfcc.open(path)


def test_score_of_the_trained_policy(model, plain):
    score = plain.score(model.npz["x"], obs=model.npz["obs"])
    rounding = model.json["checks"]["pytorch_float32_vs_float64"]["score"]["max_abs"]
    assert np.abs(score - model.npz["score"]).max() < 8 * rounding


def test_denoised_actions(model, denoised):
    act = denoised.act(z=model.npz["noise"], obs=model.npz["obs"])
    assert np.abs(act - model.npz["sample_denoised"]).max() < 1e-5


def test_denoised_before_the_clip(tool, model, tmp_path):
    tool(tool.model("lander_nfbc"), "-o", tmp_path / "policy.so", "--denoise", SIGMA)
    policy = nfcc.open(tmp_path / "policy.so")
    act = policy.act(z=model.npz["noise"], obs=model.npz["obs"])
    assert np.abs(act - model.npz["sample_denoised_unclipped"]).max() < 1e-5
    assert policy.act(z=model.npz["noise"][0], obs=model.npz["obs"][0]).tobytes() == act[0].tobytes()


def test_the_density_does_not_change(model, plain, denoised):
    z, obs = model.npz["noise"], model.npz["obs"]
    for a, b in zip(plain.sample_and_log_prob(z=z, obs=obs), denoised.sample_and_log_prob(z=z, obs=obs)):
        assert a.tobytes() == b.tobytes()
    assert plain.log_prob(model.npz["x"], obs=obs).tobytes() == denoised.log_prob(model.npz["x"], obs=obs).tobytes()
    assert plain.sample(z=z, obs=obs).tobytes() == denoised.sample(z=z, obs=obs).tobytes()


def test_one_march(denoised):
    note = [line for line in denoised.info.notes.splitlines() if line.startswith("act: one march")][0]
    words = note.replace(")", "").split()
    products, transposed = (int(words[words.index(word) - 1]) for word in ("products", "transposed"))
    alone = int(words[words.index("(to_event:") + 1])
    kilobytes = [int(words[i - 1]) for i, w in enumerate(words) if w == "KB"]
    # no net is evaluated twice; of six blocks each has two layers of its nets side by side
    assert products == alone == transposed == 30
    assert kilobytes[1] * 6 <= kilobytes[0] + 6   # six blocks: one of them lies between two uses


@pytest.mark.parametrize("name", ["nflows_additive__sample__ts17", "freia_rnvp__density__ts17",
                                  "flax_unsup__zlogprob__jax21"])
def test_act_is_sample_plus_score(tool, tmp_path, name):
    model = Model(tool.model(name))
    tool(tool.model(name), "-o", tmp_path / "policy.so", "--denoise", 0.3)
    policy = nfcc.open(tmp_path / "policy.so")
    contexts = {c.name: model.input_rows(c.name) for c in policy.info.contexts}
    z = model.noise.astype(np.float32).reshape(-1, *policy.info.event.shape)
    x = policy.sample(z=z, contexts=contexts)
    wanted = x + np.float32(0.09) * policy.score(x, contexts=contexts)
    assert np.abs(policy.act(z=z, contexts=contexts) - wanted).max() < 1e-5 * np.abs(wanted).max()


def test_score_of_contexts(tool, tmp_path):
    model = Model(tool.model("nf4rl_tiny__density__dyn"))
    tool(tool.model("nf4rl_tiny__density__dyn"), "-o", tmp_path / "policy.so", "--score-context")
    policy = nfcc.open(tmp_path / "policy.so")
    score, by_context = policy.score_context(model.npz["x"], y=model.npz["y"])
    assert score.tobytes() == policy.score(model.npz["x"], y=model.npz["y"]).tobytes()
    for value, key in ((score, "score"), (by_context["y"], "score_y")):
        assert np.abs(value - model.npz[key]).max() < 1e-5 * np.abs(model.npz[key]).max()


def test_without_scores_of_contexts(model, plain):
    with pytest.raises(nfcc.Error):
        plain.score_context(model.npz["x"], obs=model.npz["obs"])


@pytest.mark.parametrize("backend", ["llvm", "interp"])
def test_run_score(tool, model, tmp_path, backend):
    np.save(tmp_path / "x.npy", model.npz["x"])
    np.save(tmp_path / "obs.npy", model.npz["obs"])
    tool("run", tool.model("lander_nfbc"), "score", "x=x.npy", "obs=obs.npy", "-o", "out", "--backend", backend,
         cwd=tmp_path)
    score = np.load(tmp_path / "out" / "score.npy")
    assert score.shape == (256, 8) and np.abs(score - model.npz["score"]).max() < 1e-3


# ---- units

def statistics(folder):
    rng = np.random.default_rng(3)
    made = {}
    for name in ("obs", "event"):
        made[name] = rng.normal(size=8), np.exp(0.3 * rng.normal(size=8))
        np.savez(folder / f"{name}.npz", mean=made[name][0], std=made[name][1])
    return made


def test_units(tool, model, tmp_path):
    made = statistics(tmp_path)
    done = tool(tool.model("lander_nfbc"), "-o", "policy.so", "--normalize", "obs=obs.npz", "--unnormalize",
                "event.npz", cwd=tmp_path)
    assert "units: obs is (caller's - mean) / std of obs.npz; event is mean + std * the graph's of event.npz" in \
        done.stdout
    policy, n = nfcc.open(tmp_path / "policy.so"), model.npz
    assert str(tmp_path) not in policy.info.notes
    (obs_mean, obs_std), (mean, std) = made["obs"], made["event"]
    obs, x = (n["obs"] * obs_std + obs_mean).astype(np.float32), (n["x"] * std + mean).astype(np.float32)
    volume = np.log(std).sum()
    z, log_det = policy.to_latent(x, obs=obs)
    assert np.abs(z - n["z"]).max() < 1e-4 and np.abs(log_det - n["logdet"] + volume).max() < 1e-4
    assert np.abs(policy.log_prob(x, obs=obs) - n["log_prob"] + volume).max() < 1e-3
    assert np.abs(policy.score(x, obs=obs) * std - n["score"]).max() < 2e-3
    made_x, log_prob = policy.sample_and_log_prob(z=n["noise"], obs=obs)
    assert np.abs(made_x - (n["sample"] * std + mean)).max() < 1e-4
    assert np.abs(log_prob - n["sample_log_prob"] + volume).max() < 1e-3


def test_units_in_two_steps(tool, tmp_path):
    statistics(tmp_path)
    tool(tool.model("lander_nfbc"), "--normalize", "obs=obs.npz", "--stop-after", "import", "-o", "m.nf", cwd=tmp_path)
    said = tool("check", "m.nf", "--unnormalize", "event.npz", cwd=tmp_path).stdout
    assert "units: obs is (caller's - mean) / std of obs.npz; event is mean + std * the graph's of event.npz" in said


@pytest.mark.parametrize("options, text", [
    (["--normalize", "obz=obs.npz"], "its inputs are: obs, x"),
    (["--normalize", "x=obs.npz"], "it is no context of real numbers"),
    (["--normalize", "obs=missing.npz"], "missing.npz"),
    (["--unnormalize", "short.npz"], "mean and std are 3 numbers, but the event has 8"),
    (["--unnormalize", "flat.npz"], "a std above 0"),
    (["--unnormalize", "no_std.npz"], "there is no key 'std'"),
])
def test_units_refused(tool, tmp_path, options, text):
    statistics(tmp_path)
    np.savez(tmp_path / "short.npz", mean=np.zeros(3), std=np.ones(3))
    np.savez(tmp_path / "flat.npz", mean=np.zeros(8), std=np.zeros(8))
    np.savez(tmp_path / "no_std.npz", mean=np.zeros(8))
    done = tool(tool.model("lander_nfbc"), "-o", "policy.so", *options, cwd=tmp_path, code=None)
    assert done.returncode in (1, 3) and text in done.stderr
    assert not os.path.exists(tmp_path / "policy.so")
