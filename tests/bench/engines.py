"""The engines that ./dev bench compares: each is a class whose load(work) gives a function without arguments, one call
of the work, and one that gives the outputs of the last call. Each is fed as its makers advise: one thread, static
shapes, weights that are constants, buffers bound once.

    python engines.py ENGINE FOLDER CPU     a worker: reads {"do": "load" | "time", ...} lines, answers one line each
"""
import gc
import importlib
import json
import os
import subprocess
import sys
import time
from typing import NamedTuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "runtime", "python")]

from arithmetic import Arithmetic  # noqa: E402


class Engine:
    differentiates = False  # can do works that need a gradient


class Nfcc(Engine):
    """policy.so through the functions of nfcc.h by ctypes, whose half microsecond a call is a part of the figures."""

    differentiates, weights = True, "f32"

    def __init__(self, folder):
        import ctypes
        import nfcc
        self.c, self.lib, self.folder, self.policies = ctypes, nfcc._lib, folder, {}
        self.noise_type = nfcc._Noise

    def policy(self, model):
        if model not in self.policies:
            path = os.path.join(self.folder, f"{model}-{self.weights}.so").encode()
            p = self.c.c_void_p()
            status = self.lib.nfcc_open(path, 0, self.c.byref(p))
            if status:
                raise RuntimeError(self.lib.nfcc_status_text(status).decode())
            self.policies[model] = p
        return self.policies[model]

    def load(self, work):
        import numpy as np
        c, lib = self.c, self.lib
        p, (event, obs) = self.policy(work.model), work.inputs(shared=True)
        info = lib.nfcc_get_info(p).contents
        rows, n = obs.shape[0], event.shape[0] // obs.shape[0]
        memory = np.empty(info.work_size, np.uint8)
        prepared = np.empty(lib.nfcc_prepared_size(p, rows), np.uint8)
        x, log_prob = np.empty(event.shape, np.float32), np.empty(len(event), np.float32)
        at = lambda a: c.c_void_p(a.ctypes.data)
        noise = self.noise_type(0, 0, 1, event.ctypes.data)
        kept = (event, obs, memory, prepared, x, log_prob, noise)
        direct = c.CDLL(lib._name)  # functions without declared types: the arguments are converted once, here
        prepare = direct.nfcc_prepare
        prepare_args = (p, c.c_size_t(rows), (c.c_void_p * 1)(obs.ctypes.data), at(prepared), at(memory))
        if prepare(*prepare_args):
            raise RuntimeError("nfcc_prepare")
        head, count = (p, at(prepared)), c.c_size_t(n)
        entry, args, outputs = {
            "log_prob": ("nfcc_log_prob", (*head, count, at(event), at(log_prob), at(memory)), (log_prob,)),
            "sample": ("nfcc_sample", (*head, c.byref(noise), count, at(x), at(memory)), (x,)),
            "act": ("nfcc_act", (*head, c.byref(noise), count, at(x), at(memory)), (x,)),
            "sample_and_log_prob": ("nfcc_sample_and_log_prob",
                                    (*head, c.byref(noise), count, at(x), at(log_prob), at(memory)), (x, log_prob)),
        }[work.entry]
        function = getattr(direct, entry)

        def whole(_kept=kept):  # ctypes knows addresses only: the arrays must live as long as the call
            prepare(*prepare_args)
            function(*args)

        def prepared_only(_kept=kept):
            function(*args)

        return prepared_only if work.prepared else whole, lambda: outputs


class Nfcc16(Nfcc):
    weights = "f16"


class NfccB16(Nfcc):
    weights = "bf16"


class OnnxRuntime(Engine):
    """IO binding to arrays made once, all graph optimisations, one thread, no thread pool between operators."""

    def __init__(self, folder):
        import onnxruntime
        self.ort = onnxruntime

    def load(self, work):
        import numpy as np
        ort, options = self.ort, self.ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.log_severity_level = 3
        session = ort.InferenceSession(work.onnx(), options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        values = [ort.OrtValue.ortvalue_from_numpy(a) for a in work.inputs()]
        outs = [ort.OrtValue.ortvalue_from_numpy(np.zeros(s, np.float32)) for s in work.output_shapes()]
        for i, v in zip(session.get_inputs(), values):
            binding.bind_ortvalue_input(i.name, v)
        for o, v in zip(session.get_outputs(), outs):
            binding.bind_ortvalue_output(o.name, v)
        run = ort.RunOptions()
        return lambda: session.run_with_iobinding(binding, run), lambda: [v.numpy() for v in outs]


class OpenVino(Engine):
    """A request whose input and output tensors are set once; latency hint, one stream, one thread."""

    precision = "f32"

    def __init__(self, folder):
        import openvino
        self.ov, self.core = openvino, openvino.Core()

    def load(self, work):
        import numpy as np
        ov = self.ov
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1,
                 "INFERENCE_PRECISION_HINT": self.precision, "ENABLE_CPU_PINNING": False}
        request = self.core.compile_model(self.core.read_model(work.onnx()), "CPU", hints).create_infer_request()
        kept = [np.array(a, order="C") for a in work.inputs()]
        for i, a in enumerate(kept):
            request.set_input_tensor(i, ov.Tensor(a, shared_memory=True))
        n = len(work.output_shapes())
        outputs = lambda: [np.array(request.get_output_tensor(i).data) for i in range(n)]
        return lambda _kept=kept: request.infer(), outputs


class OpenVinoB16(OpenVino):
    precision = "bf16"


class Iree(Engine):
    """The ONNX graph ahead of time for this host's CPU, run by the driver without threads."""

    def __init__(self, folder):
        import iree.runtime
        self.rt, self.folder = iree.runtime, folder

    def tool(self, name, *words):
        path = os.path.join(os.path.dirname(sys.executable), name)
        done = subprocess.run([path, *words], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'failed'}")

    def load(self, work):
        import numpy as np
        rt, base = self.rt, os.path.join(self.folder, work.key)
        self.tool("iree-import-onnx", work.onnx(), "-o", base + ".mlir")
        self.tool("iree-compile", base + ".mlir", "-o", base + ".vmfb", "--iree-hal-target-device=local",
                  "--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host",
                  "--iree-opt-level=O3")
        config = rt.Config("local-sync")
        module = rt.load_vm_flatbuffer_file(base + ".vmfb", driver="local-sync")
        os.remove(base + ".mlir")
        function = module["policy"]
        arrays = [rt.asdevicearray(config.device, a) for a in work.inputs()]
        last = []

        def call():
            last[:] = [function(*arrays)]

        return call, lambda: [np.asarray(v) for v in (last[0] if isinstance(last[0], (tuple, list)) else [last[0]])]


class JaxOps(Arithmetic):
    def __init__(self, params):
        import jax
        import jax.numpy as jnp
        self.jax, self.jnp = jax, jnp
        self.p = {k: jnp.asarray(v.T if v.ndim == 2 else v) for k, v in params.items()}

    def linear(self, x, name, bias=""):
        y = self.jnp.dot(x, self.p[name + ".w"])
        return y if bias is None else y + self.p[bias or name + ".b"]

    def exp(self, a): return self.jnp.exp(a)
    def tanh(self, a): return self.jnp.tanh(a)
    def elu(self, a): return self.jax.nn.elu(a)
    def silu(self, a): return self.jax.nn.silu(a)
    def leaky_relu(self, a): return self.jax.nn.leaky_relu(a, 0.01)
    def relu(self, a): return self.jax.nn.relu(a)
    def concat(self, a, b): return self.jnp.concatenate([a, self.jnp.broadcast_to(b, (a.shape[0], b.shape[1]))], 1)
    def halves(self, a): return a[:, :a.shape[1] // 2], a[:, a.shape[1] // 2:]
    def gradient(self, f, x): return self.jax.grad(lambda v: f(v).sum())(x)

    def conv(self, a, name, stride):
        w, pad = self.p[name + ".w"], (self.p[name + ".w"].shape[2] // 2,) * 2
        y = self.jax.lax.conv_general_dilated(a, w, (stride, stride), (pad, pad))
        return y + self.p[name + ".b"][:, None, None]

    def layer_norm(self, a, name):
        mean = a.mean(1, keepdims=True)
        centred = a - mean
        scale = self.jax.lax.rsqrt((centred ** 2).mean(1, keepdims=True) + 1e-5)
        return centred * scale * self.p[name + ".w"] + self.p[name + ".b"]


class Jax(Engine):
    """One jitted function with the weights as constants, compiled before it is called; arrays on the device."""

    differentiates = True

    def __init__(self, folder):
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["JAX_PLATFORMS"] = "cpu"
        import jax
        self.jax, self.ops = jax, {}

    def load(self, work):
        import numpy as np
        jax = self.jax
        ops = self.ops.setdefault(work.model, JaxOps(work.flow.folded))
        arrays = [jax.device_put(a) for a in work.inputs()]
        function = jax.jit(lambda *v: work.function(ops, *v)).lower(*arrays).compile()
        last = []

        def call():
            last[:] = function(*arrays)
            last[0].block_until_ready()

        return call, lambda: [np.asarray(v) for v in last]


class TorchOps(Arithmetic):
    def __init__(self, params):
        import torch
        self.torch, self.f = torch, torch.nn.functional
        self.p = {k: torch.from_numpy(v.copy()) for k, v in params.items()}

    def linear(self, x, name, bias=""):
        return self.f.linear(x, self.p[name + ".w"], None if bias is None else self.p[bias or name + ".b"])

    def exp(self, a): return self.torch.exp(a)
    def tanh(self, a): return self.torch.tanh(a)
    def elu(self, a): return self.f.elu(a)
    def silu(self, a): return self.f.silu(a)
    def leaky_relu(self, a): return self.f.leaky_relu(a, 0.01)
    def relu(self, a): return self.f.relu(a)
    def concat(self, a, b): return self.torch.cat([a, b.expand(a.shape[0], -1)], 1)
    def halves(self, a): return self.torch.chunk(a, 2, 1)

    def conv(self, a, name, stride):
        w = self.p[name + ".w"]
        return self.f.conv2d(a, w, self.p[name + ".b"], stride, w.shape[2] // 2)

    def layer_norm(self, a, name):
        return self.f.layer_norm(a, a.shape[1:], self.p[name + ".w"], self.p[name + ".b"], 1e-5)

    def gradient(self, f, x):
        with self.torch.enable_grad():
            x = x.detach().requires_grad_(True)
            return self.torch.autograd.grad(f(x).sum(), x)[0]


class Torch(Engine):
    """Eager, no gradients recorded but where one is asked for, one thread."""

    differentiates = True

    def __init__(self, folder):
        import torch
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        self.torch, self.ops = torch, {}

    def load(self, work):
        torch = self.torch
        ops = self.ops.setdefault(work.model, TorchOps(work.flow.folded))
        arrays, last = [torch.from_numpy(a.copy()) for a in work.inputs()], []
        mode = torch.no_grad if work.entry == "act" else torch.inference_mode

        def call():
            with mode():
                last[:] = work.function(ops, *arrays)

        return call, lambda: [v.numpy() for v in last]


class AotInductor(Torch):
    """torch.export and AOTInductor, compiled for this host; takes half a minute a graph and a C++ compiler."""

    differentiates = False

    def load(self, work):
        torch = self.torch
        ops = self.ops.setdefault(work.model, TorchOps(work.flow.folded))
        arrays, last = [torch.from_numpy(a.copy()) for a in work.inputs()], []

        class Module(torch.nn.Module):
            def __init__(self):
                super().__init__()
                for k, v in ops.p.items():
                    self.register_buffer(k.replace(".", "_"), v)

            def forward(self, *v):
                mine = TorchOps({})
                mine.p = {k: getattr(self, k.replace(".", "_")) for k in ops.p}
                return work.function(mine, *v)

        with torch.no_grad():
            program = torch.export.export(Module(), tuple(arrays))
            function = torch._inductor.aoti_load_package(torch._inductor.aoti_compile_and_package(program))

        def call():
            with torch.inference_mode():
                last[:] = function(*arrays)

        return call, lambda: [v.numpy() for v in last]


class Listed(NamedTuple):
    make: type
    packages: list  # to install
    package: str  # whose version is shown
    bits: int  # of a weight
    title: str


OURS = {"nfcc": Listed(Nfcc, [], None, 32, "nfcc"),
        "nfcc-f16": Listed(Nfcc16, [], None, 16, "nfcc f16"),
        "nfcc-bf16": Listed(NfccB16, [], None, 16, "nfcc bf16")}
PEERS = {"ort": Listed(OnnxRuntime, ["onnxruntime"], "onnxruntime", 32, "ONNX Runtime"),
         "openvino": Listed(OpenVino, ["openvino"], "openvino", 32, "OpenVINO"),
         "openvino-bf16": Listed(OpenVinoB16, ["openvino"], "openvino", 16, "OpenVINO bf16"),
         "iree": Listed(Iree, ["iree-base-compiler", "iree-base-runtime"], "iree-base-compiler", 32, "IREE"),
         "jax": Listed(Jax, ["jax"], "jax", 32, "JAX"),
         "torch": Listed(Torch, ["torch==2.13.0"], "torch", 32, "torch eager"),
         "aoti": Listed(AotInductor, ["torch==2.13.0", "setuptools"], "torch", 32, "AOTInductor")}
ENGINES = {**OURS, **PEERS}


# ---- a worker
def measure(call, seconds, most):
    times, end = [], time.perf_counter() + seconds
    clock = time.perf_counter_ns
    gc.disable()
    while len(times) < most and (not times or time.perf_counter() < end):
        start = clock()
        call()
        times.append(clock() - start)
    gc.enable()
    return times


class Inexpressible(Exception):
    pass


def load(engine, work, path):
    """One call of the work, after it was made and its outputs were written."""
    import numpy as np
    if work.entry == "act" and not engine.differentiates:
        raise Inexpressible("cannot be expressed: the graph that it takes has no gradient")
    call, outputs = engine.load(work)
    call()
    np.savez(path, *[np.asarray(v, np.float32) for v in outputs()])
    return call


def time_of(call, seconds):
    measure(call, seconds / 5, 10 ** 6)
    times = sorted(measure(call, seconds, 10 ** 6))
    return {"calls": len(times), "min": times[0], "p50": times[len(times) // 2],
            "p99": times[min(len(times) - 1, len(times) * 99 // 100)]}


def worker(name, folder, cpu):
    os.sched_setaffinity(0, {int(cpu)})
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print belongs to no reply
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    works = importlib.import_module("works").all_works(folder)
    engine, calls = None, {}
    for line in sys.stdin:
        request = json.loads(line)
        key = request["work"]
        try:
            engine = engine or ENGINES[name].make(folder)
            if request["do"] == "load":
                reply = {"outputs": os.path.join(folder, f"out-{name}-{key}.npz")}
                calls[key] = load(engine, works[key], reply["outputs"])
            else:
                reply = time_of(calls[key], request["seconds"])
        except Inexpressible as error:
            reply = {"error": str(error)}
        except Exception as error:  # a peer that cannot do a work is a line in the report, not the end of it
            text = str(error).strip().splitlines()
            reply = {"error": f"{type(error).__name__}: {text[0] if text else ''}"[:300]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    worker(*sys.argv[1:4])
