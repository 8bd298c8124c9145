"""The three policies that ./dev bench times, with random weights, written once for every peer.

A flow's functions take `o`, an object with a dozen operations on [rows, lanes] values and a few on pictures [rows,
channels, height, width]: NumPy in double (the reference), ONNX nodes, JAX and torch each have one. Weights are looked
up by name, as [outputs, inputs] ([outputs, inputs, height, width]) with a bias.

Policy   what nfcc is given: the density direction (x, obs) -> (z, logdet), as an exporter writes it.
the rest what the peers are given: what nfcc derives, written by hand: the sampling direction with inverted matrices,
         log_prob with the base in it, linear maps folded, and contexts that many samples share computed once.
"""
import math

import numpy as np

from arithmetic import Arithmetic


def base(o, z, dims):
    return o.shift(o.scale(o.sum(o.mul(z, z)), -0.5), -0.5 * dims * math.log(2 * math.pi))


def dense(p, rng, name, inputs, outputs, scale=1.0):
    bound = scale / math.sqrt(inputs)
    p[name + ".w"] = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
    p[name + ".b"] = rng.uniform(-bound, bound, outputs).astype(np.float32)


class Small:
    """A control policy: obs 48 behind a normaliser, 12 actions, 6 couplings whose nets are 2 x 128 ELU; the scale is a
    tanh."""

    name, obs, dims, width, blocks = "small", 48, 12, 128, 6

    def __init__(self, seed=0):
        rng, p = np.random.default_rng(seed), {}
        p["mu"] = rng.normal(0, 0.5, self.obs).astype(np.float32)
        p["sd"] = rng.uniform(0.5, 2, self.obs).astype(np.float32)
        for i in range(self.blocks):
            dense(p, rng, f"{i}.0", self.dims // 2 + self.obs, self.width)
            dense(p, rng, f"{i}.1", self.width, self.width)
            dense(p, rng, f"{i}.2", self.width, self.dims)
        self.params = p
        self.folded = self.fold()

    def fold(self):
        """The normaliser inside each first layer."""
        p = {k: v for k, v in self.params.items() if k not in ("mu", "sd")}
        mu, sd = (self.params[k].astype(np.float64) for k in ("mu", "sd"))
        for i in range(self.blocks):
            w = self.params[f"{i}.0.w"].astype(np.float64)
            on_obs = w[:, self.dims // 2:] / sd
            p[f"{i}.0.w"] = np.concatenate([w[:, :self.dims // 2], on_obs], 1).astype(np.float32)
            p[f"{i}.0.b"] = (self.params[f"{i}.0.b"] - on_obs @ mu).astype(np.float32)
        return p

    def net(self, o, i, kept, context):
        h = o.elu(o.linear(o.concat(kept, context), f"{i}.0"))
        s, t = o.halves(o.linear(o.elu(o.linear(h, f"{i}.1")), f"{i}.2"))
        return o.tanh(s), t

    def to_latent(self, o, x, context):
        a, b = o.halves(x)
        log_det = None
        for i in range(self.blocks):
            s, t = self.net(o, i, a, context)
            b = o.mul(o.sub(b, t), o.exp(o.neg(s)))
            log_det = o.neg(o.sum(s)) if log_det is None else o.sub(log_det, o.sum(s))
            a, b = b, a
        return o.concat(a, b), log_det

    def density(self, o, x, obs):
        return self.to_latent(o, x, o.div(o.sub(obs, o.constant("mu")), o.constant("sd")))

    def log_prob(self, o, x, obs):
        z, log_det = self.to_latent(o, x, obs)
        return (o.add(base(o, z, self.dims), log_det),)

    def sample_and_log_prob(self, o, z, obs):
        a, b = o.halves(z)
        total = None
        for i in reversed(range(self.blocks)):
            a, b = b, a
            s, t = self.net(o, i, a, obs)
            b = o.add(o.mul(b, o.exp(s)), t)
            total = o.sum(s) if total is None else o.add(total, o.sum(s))
        return o.concat(a, b), o.sub(base(o, z, self.dims), total)


class Camera(Small):
    """A policy that sees: a picture of 3 x 64 x 64 through five convolutions (32 to 128 channels, ReLU, three of every
    second place) and the mean over all places to a context of 64; 14 actions, 6 couplings as Small's."""

    name, side, obs, dims, width, blocks, context = "camera", 64, 3 * 64 * 64, 14, 128, 6, 64
    layers = [(3, 32, 5, 2), (32, 64, 3, 2), (64, 64, 3, 1), (64, 128, 3, 2), (128, 128, 3, 1)]  # kernel, stride

    def __init__(self, seed=0):
        rng, p = np.random.default_rng(seed), {}
        for k, (inputs, outputs, kernel, _) in enumerate(self.layers):
            dense(p, rng, f"conv{k}", inputs * kernel * kernel, outputs, 2.0)
            p[f"conv{k}.w"] = p[f"conv{k}.w"].reshape(outputs, inputs, kernel, kernel)
        dense(p, rng, "context", self.layers[-1][1], self.context)
        for i in range(self.blocks):
            dense(p, rng, f"{i}.0", self.dims // 2 + self.context, self.width)
            dense(p, rng, f"{i}.1", self.width, self.width)
            dense(p, rng, f"{i}.2", self.width, self.dims)
        self.params = self.folded = p

    def encode(self, o, obs):
        h = o.picture(obs, 3, self.side)
        for k, (_, _, _, stride) in enumerate(self.layers):
            h = o.relu(o.conv(h, f"conv{k}", stride))
        return o.linear(o.mean_of_places(h), "context")

    def density(self, o, x, obs):
        return self.to_latent(o, x, self.encode(o, obs))

    def log_prob(self, o, x, obs):
        return super().log_prob(o, x, self.encode(o, obs))

    def sample_and_log_prob(self, o, z, obs):
        return super().sample_and_log_prob(o, z, self.encode(o, obs))


class PushT:
    """An imitation policy of full size, 10.9 M weights: obs 40 through an encoder of 512 SiLU units to 256, 32 actions,
    12 blocks of a 32 x 32 matrix and a coupling, whose two nets are 2 x 512 leaky ReLU with layer normalisation."""

    name, obs, dims, context, width, blocks = "pusht", 40, 32, 256, 512, 12

    def __init__(self, seed=0):
        rng, p, half = np.random.default_rng(seed), {}, self.dims // 2
        for i in range(4):
            dense(p, rng, f"enc{i}", self.obs if i == 0 else self.width, self.width)
            self.norm(p, rng, f"enc{i}.n")
        dense(p, rng, "enc4", self.width, self.context)
        for i in range(self.blocks):
            rotation = np.linalg.qr(rng.normal(size=(self.dims, self.dims)))[0]
            w = (rotation * rng.uniform(0.8, 1.25, self.dims)).astype(np.float32)
            p[f"{i}.m.w"], p[f"{i}.inv.w"] = w, np.linalg.inv(w.astype(np.float64)).astype(np.float32)
            p[f"{i}.logdet"] = np.array([np.linalg.slogdet(w.astype(np.float64))[1]], np.float32)
            for net in "st":
                dense(p, rng, f"{i}.{net}0", half + self.context, self.width)
                dense(p, rng, f"{i}.{net}1", self.width, self.width)
                dense(p, rng, f"{i}.{net}2", self.width, half, 0.5)
                self.norm(p, rng, f"{i}.{net}0.n")
                self.norm(p, rng, f"{i}.{net}1.n")
        self.params = self.folded = p
        for i in range(self.blocks):  # the parts of the first layers that see the event and the context
            for net in "st":
                w = p[f"{i}.{net}0.w"]
                p[f"{i}.{net}x.w"], p[f"{i}.{net}c.w"] = w[:, :half].copy(), w[:, half:].copy()

    def norm(self, p, rng, name):
        p[name + ".w"] = rng.uniform(0.8, 1.2, self.width).astype(np.float32)
        p[name + ".b"] = rng.normal(0, 0.05, self.width).astype(np.float32)

    def encode(self, o, obs):
        h = obs
        for i in range(4):
            h = o.silu(o.layer_norm(o.linear(h, f"enc{i}"), f"enc{i}.n"))
        return o.linear(h, "enc4")

    def first(self, o, i, net, kept, context, split):
        if not split:
            return o.linear(o.concat(kept, context), f"{i}.{net}0")
        on_context = o.linear(context, f"{i}.{net}c", f"{i}.{net}0.b")
        return o.add(o.linear(kept, f"{i}.{net}x", None), on_context)

    def net(self, o, i, net, kept, context, split):
        h = o.layer_norm(o.leaky_relu(self.first(o, i, net, kept, context, split)), f"{i}.{net}0.n")
        h = o.layer_norm(o.leaky_relu(o.linear(h, f"{i}.{net}1")), f"{i}.{net}1.n")
        return o.linear(h, f"{i}.{net}2")

    def to_latent(self, o, x, context):
        log_det = None
        for i in range(self.blocks):
            a, b = o.halves(o.linear(x, f"{i}.m", None))
            s = self.net(o, i, "s", a, context, False)
            x = o.concat(a, o.mul(o.sub(b, self.net(o, i, "t", a, context, False)), o.exp(o.neg(s))))
            part = o.sub(o.constant(f"{i}.logdet"), o.sum(s))
            log_det = part if log_det is None else o.add(log_det, part)
        return x, log_det

    def to_event(self, o, z, context, split=False):
        for i in reversed(range(self.blocks)):
            a, b = o.halves(z)
            s = self.net(o, i, "s", a, context, split)
            b = o.add(o.mul(b, o.exp(s)), self.net(o, i, "t", a, context, split))
            z = o.linear(o.concat(a, b), f"{i}.inv", None)
        return z

    def density(self, o, x, obs):
        return self.to_latent(o, x, self.encode(o, obs))

    def log_prob_in(self, o, x, context):
        z, log_det = self.to_latent(o, x, context)
        return o.add(base(o, z, self.dims), log_det)

    def log_prob(self, o, x, obs):
        return (self.log_prob_in(o, x, self.encode(o, obs)),)

    def sample(self, o, z, obs):
        return (self.to_event(o, z, self.encode(o, obs)),)

    def sample_shared(self, o, z, obs):
        """Many z, one obs: the encoder and the context's part of every first layer are computed for one row."""
        return (self.to_event(o, z, self.encode(o, obs), split=True),)

    def act(self, o, z, obs, sigma=0.1):
        """One denoising step; `o.gradient(f, x)` is d sum f / d x."""
        context = self.encode(o, obs)
        x = self.to_event(o, z, context)
        return (o.add(x, o.scale(o.gradient(lambda v: self.log_prob_in(o, v, context), x), sigma * sigma)),)


class NumPy(Arithmetic):
    """The reference, in double."""

    def __init__(self, params):
        self.p = {k: v.astype(np.float64) for k, v in params.items()}

    def linear(self, x, name, bias=""):
        y = x @ self.p[name + ".w"].T
        return y if bias is None else y + self.p[bias or name + ".b"]

    def exp(self, a): return np.exp(a)
    def tanh(self, a): return np.tanh(a)
    def elu(self, a): return np.where(a > 0, a, np.expm1(np.minimum(a, 0)))
    def silu(self, a): return a / (1 + np.exp(-a))
    def leaky_relu(self, a): return np.where(a > 0, a, 0.01 * a)
    def relu(self, a): return np.maximum(a, 0)
    def concat(self, a, b): return np.concatenate([a, b], 1)
    def halves(self, a): return a[:, :a.shape[1] // 2], a[:, a.shape[1] // 2:]

    def layer_norm(self, a, name):
        centred = a - a.mean(1, keepdims=True)
        deviation = np.sqrt((centred ** 2).mean(1, keepdims=True) + 1e-5)
        return centred / deviation * self.p[name + ".w"] + self.p[name + ".b"]


    def conv(self, a, name, stride):
        w = self.p[name + ".w"]
        kernel = w.shape[2:]
        pad = kernel[0] // 2
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(a, ((0, 0), (0, 0), (pad, pad), (pad, pad))), kernel,
                                                           (2, 3))[:, :, ::stride, ::stride]
        return np.einsum("rcyxij,ocij->royx", windows, w, optimize=True) + self.p[name + ".b"][:, None, None]


class Onnx:
    """Nodes of an ONNX graph: values are names. Widths are known, so that halves are slices."""

    def __init__(self, params):
        self.p, self.nodes, self.weights, self.width = params, [], {}, {}

    def node(self, op, inputs, width=None, **attributes):
        from onnx import helper
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.width[name] = self.width[inputs[0]] if width is None else width
        return name

    def constant(self, name):
        self.weights[name] = self.p[name]
        self.width[name] = self.p[name].shape[-1]
        return name

    def number(self, value, dtype=np.float32):
        name = f"c{value}".replace("-", "m").replace("[", "").replace("]", "").replace(" ", "_")
        self.weights[name] = np.array(value, dtype)
        self.width[name] = 1
        return name

    def linear(self, x, name, bias=""):
        w = self.constant(name + ".w")
        inputs = [x, w] + ([] if bias is None else [self.constant(bias or name + ".b")])
        return self.node("Gemm", inputs, self.p[w].shape[0], transB=1)

    def add(self, a, b): return self.node("Add", [a, b])
    def sub(self, a, b): return self.node("Sub", [a, b], self.width[b])
    def mul(self, a, b): return self.node("Mul", [a, b])
    def div(self, a, b): return self.node("Div", [a, b])
    def neg(self, a): return self.node("Neg", [a])
    def scale(self, a, c): return self.node("Mul", [a, self.number(c)])
    def shift(self, a, c): return self.node("Add", [a, self.number(c)])
    def exp(self, a): return self.node("Exp", [a])
    def tanh(self, a): return self.node("Tanh", [a])
    def elu(self, a): return self.node("Elu", [a])
    def silu(self, a): return self.mul(a, self.node("Sigmoid", [a]))
    def leaky_relu(self, a): return self.node("LeakyRelu", [a], alpha=0.01)
    def relu(self, a): return self.node("Relu", [a])
    def mean_of_places(self, a): return self.node("ReduceMean", [a], axes=[2, 3], keepdims=0)
    def sum(self, a): return self.node("ReduceSum", [a, self.number([1], np.int64)], 1, keepdims=0)
    def concat(self, a, b): return self.node("Concat", [a, b], self.width[a] + self.width[b], axis=1)

    def halves(self, a):
        half = self.width[a] // 2
        cut = [self.number([v], np.int64) for v in (0, half, 2 * half)]
        axis = self.number([1], np.int64)
        return tuple(self.node("Slice", [a, cut[k], cut[k + 1], axis], half) for k in range(2))

    def picture(self, a, channels, side):
        shape = "picture"
        self.weights[shape] = np.array([0, channels, side, side], np.int64)
        return self.node("Reshape", [a, shape], channels)

    def conv(self, a, name, stride):
        w, b = self.constant(name + ".w"), self.constant(name + ".b")
        outputs, _, kernel, _ = self.p[w].shape
        return self.node("Conv", [a, w, b], outputs, strides=[stride] * 2, pads=[kernel // 2] * 4)

    def layer_norm(self, a, name):
        return self.node("LayerNormalization", [a, self.constant(name + ".w"), self.constant(name + ".b")],
                         epsilon=1e-5)


def write_onnx(path, function, params, inputs, outputs):
    """inputs: {name: [rows, lanes]}, rows a number or a name; outputs: {name: shape}."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    o = Onnx(params)
    for name, shape in inputs.items():
        o.width[name] = shape[1]
    made = function(o, *inputs)
    for name, value in zip(outputs, made):
        o.nodes.append(helper.make_node("Identity", [value], [name]))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(o.nodes, "policy", [info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
                              [info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
                              [numpy_helper.from_array(v, n) for n, v in o.weights.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def write_density(path, flow):
    """The file that nfcc compiles."""
    write_onnx(path, flow.density, flow.params, {"x": ["batch", flow.dims], "obs": ["batch", flow.obs]},
               {"z": ["batch", flow.dims], "logdet": ["batch"]})
