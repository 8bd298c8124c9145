"""What large flows are made of, small: attention token by token as repeats, masked nets in rounds, convolutions."""
import math
import os
import re

import numpy as np
import pytest

import nfcc

onnx = pytest.importorskip("onnx")
large = pytest.importorskip("large")


class Net:
    """The blocks of large.tarflow from its own file, in double: constants in the order in which they were made."""

    def __init__(self, path):
        self.values = [onnx.numpy_helper.to_array(c) for c in onnx.load(path).graph.initializer]
        self.values = iter([v.astype(float) for v in self.values if v.dtype == np.float32])

    def block(self):
        embed, embed_b, place = (next(self.values) for _ in range(3))
        norm = [next(self.values) for _ in range(2)]
        attention = [next(self.values) for _ in range(6)]
        next(self.values), next(self.values)  # the scale of the logits, the mask
        out = [next(self.values) for _ in range(2)]
        norm2 = [next(self.values) for _ in range(2)]
        up = [next(self.values) for _ in range(2)]
        for _ in range(3):  # 1/2, 1/sqrt 2, 1 of GELU
            next(self.values)
        return embed, embed_b, place, norm, attention, out, norm2, up, [next(self.values) for _ in range(4)]


def layer_norm(h, scale, shift):
    h = h - h.mean()
    return h / np.sqrt((h * h).mean() + 1e-5) * scale + shift


def gelu(u):
    return 0.5 * u * (1 + np.array([math.erf(v / 2**0.5) for v in u]))


def sample_block(block, z):
    """x of one block from z, token by token with the keys and values so far: TarFlow's own sampler."""
    embed, embed_b, place, norm, attention, out, norm2, up, down = block
    keys, values, x, log_det = [], [], np.zeros_like(z), 0.0
    a, b = np.zeros(z.shape[1]), np.zeros(z.shape[1])
    for t in range(len(z)):
        x[t] = z[t] * np.exp(a) + b
        log_det += a.sum()
        h = x[t] @ embed + embed_b + place[t]
        n = layer_norm(h, *norm)
        q, k, v = (n @ attention[2 * i] + attention[2 * i + 1] for i in range(3))
        keys.append(k)
        values.append(v)
        logits = np.array(keys) @ q / np.sqrt(len(q))
        shares = np.exp(logits - logits.max())
        h = h + (shares / shares.sum()) @ np.array(values) @ out[0] + out[1]
        h = h + gelu(layer_norm(h, *norm2) @ up[0] + up[1]) @ down[0] + down[1]
        a, b = np.split(h @ down[2] + down[3], 2)
    return x, log_det


def test_tarflow_samples_token_by_token(tool, tmp_path):
    tokens, blocks, patch = 40, 2, 4
    path = tmp_path / "tarflow.onnx"
    large.tarflow(path, tokens, blocks, patch, width=16)
    tool(path, "-o", tmp_path / "policy.so")
    z = np.random.default_rng(1).standard_normal((3, tokens, patch)).astype(np.float32)
    with nfcc.open(str(tmp_path / "policy.so")) as policy:
        x, log_det = policy.to_event(z)
    net = Net(path)
    weights = [net.block() for _ in range(blocks)]
    for row in range(3):
        want, total = z[row].astype(float), 0.0
        for number in reversed(range(blocks)):
            want, part = sample_block(weights[number], want)
            total += part
            want = want[::-1] if number else want
        np.testing.assert_allclose(np.asarray(x[row]).reshape(want.shape), want, atol=2e-5)
        assert abs(log_det[row] - total) < 1e-4


def test_attention_is_repeats(tmp_path):
    path = str(tmp_path / "tarflow.onnx")
    large.tarflow(path, 64, 2, 4, width=16)
    listed, done, repeats = large.steps_of(path)
    assert done > 64 * 2 * 30  # every token of every block
    assert listed * 3 < done
    assert max(count for count, _ in repeats) >= 16


@pytest.mark.parametrize("model, sizes", [(large.maf, (40, 64)), (large.glow, (8, 2, 2, 8)),
                                          (large.deep, (20,)), (large.wide, (64,))])
def test_compiles_and_agrees(tool, tmp_path, model, sizes):
    path = tmp_path / "model.onnx"
    model(path, *sizes)
    done = tool(path, "-o", tmp_path / "policy.so")
    assert "equal the Plan's interpreter" in done.stdout
    assert os.path.getsize(tmp_path / "policy.so") < 2 << 20


def test_very_large_models_are_checked_on_fewer_rows(tool, tmp_path):
    path = tmp_path / "glow.onnx"
    large.glow(path, 32, 1, 1, 304)  # 256 places of 142 thousand weights: 36 million multiplications a row
    done = tool(path, "-o", tmp_path / "policy.so")
    assert "rows (the model is large) in double" in done.stdout
    assert "32 rows" not in done.stdout
    assert os.path.getsize(tmp_path / "policy.so") < 3 << 20  # windows and biases are not listed place by place: 13 MB


def test_masked_matrices_stand_once(tool, tmp_path):
    """@run reads the panels of to_latent; 128 x 256, 256 x 256 and 256 x 256 numbers, half of them 0."""
    path = tmp_path / "maf.onnx"
    large.maf(path, 128, 256)
    done = tool(path, "-o", tmp_path / "policy.so")
    kib = float(re.search(r"weights ([\d.]+) KB", done.stdout)[1])
    assert kib < 4 * (128 + 256 + 256) * 256 / 1024 * 1.5  # panels and rounds 1.25; with the exported ones 2.3


def test_padding_is_no_table(tool, tmp_path):
    """The taps that lie outside of a picture, around its corners too, are a few boxes: 207 KB instead of 261."""
    path = tmp_path / "glow.onnx"
    large.glow(path, 32, 1, 1, 16)
    tool(path, "-o", tmp_path / "policy.so")
    assert os.path.getsize(tmp_path / "policy.so") < 235_000


def cpu_seconds(path, folder, *words):
    return large.measured(large.NFCC, path, "-o", folder / "policy.so", *words).seconds


def peak_bytes(path, folder, *words):
    return large.measured(large.NFCC, path, "-o", folder / "policy.so", *words).peak


def test_a_node_takes_little_memory(tmp_path):
    """Modules that a later pass has replaced are gone: 11 KB a node (with them 27 KB), 18 nodes a block."""
    peaks = []
    for blocks in (100, 500):
        large.deep(tmp_path / "model.onnx", blocks)
        peaks.append(peak_bytes(tmp_path / "model.onnx", tmp_path, "--no-verify"))
    assert peaks[1] - peaks[0] < 400 * 18 * 20_000


def test_weights_stand_twice_in_memory(tmp_path):
    """The graph's and the Plan's, rounded where they stand; the graph's are gone before the compiled policy is
    opened."""
    peaks = []
    for hidden in (768, 1536):
        large.wide(tmp_path / "model.onnx", hidden, 2)
        peaks.append(peak_bytes(tmp_path / "model.onnx", tmp_path, "--weights", "f16"))
    assert peaks[1] - peaks[0] < 2.6 * 4 * 4 * (1536**2 - 768**2)  # four matrices of f32


@pytest.mark.parametrize("model, size, words", [(large.deep, 150, []), (large.terms, 3300, ["--entries", "run"]),
                                                (large.slopes, 500, ["--entries", "run"])])
def test_time_grows_with_the_nodes(tmp_path, model, size, words):
    """Four times the nodes, far from the sixteenfold time of what is quadratic."""
    seconds = []
    for count in (size, 4 * size):
        model(tmp_path / "model.onnx", count)
        seconds.append(min(cpu_seconds(tmp_path / "model.onnx", tmp_path, *words) for _ in range(2)))
    assert seconds[1] < 8 * seconds[0]
