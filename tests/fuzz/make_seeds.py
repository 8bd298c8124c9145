"""Writes the ONNX seed models of the importer's fuzzer: make_seeds.py [FOLDER, default corpus/onnx beside this file].

Each seed is one small graph about one family of ops, so that the fuzzer finds its way into every importer function.
Needs the package onnx. Seeds are committed; this script says how they were made and makes new ones. The corpus also
holds files that the fuzzer found."""
import pathlib
import sys

import numpy as np
from onnx import AttributeProto, GraphProto, StringStringEntryProto, TensorProto, helper, numpy_helper

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
rng = np.random.default_rng(0)


def value(name, dtype, dims):
    return helper.make_tensor_value_info(name, dtype, dims)


def real(name, *shape):
    return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)


def ints(name, *numbers):
    return numpy_helper.from_array(np.array(numbers, np.int64), name)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), name=f"{op}_{outputs.split()[0]}", **attributes)


def model(nodes, inits=(), dims=("N", 4), outputs=("y",), opset=17, inputs=None, functions=(), domains=(),
          properties=None):
    inputs = inputs or [value("x", F, dims)]
    graph = helper.make_graph(list(nodes), "g", inputs, [value(o, F, None) for o in outputs], list(inits))
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions))
    made.ir_version = 8
    helper.set_model_props(made, properties or {})
    return made


def chain(ops, **kwargs):
    """Unary ops one after the other."""
    names = ["x"] + [f"h{i}" for i in range(len(ops) - 1)] + ["y"]
    return model([node(op, a, b) for op, a, b in zip(ops, names, names[1:])], **kwargs)


SEEDS = {}


def seed(function):
    SEEDS[function.__name__] = function
    return function


@seed
def coupling():
    nodes = [node("Gather", "x i0", "a", axis=1), node("Gather", "x i1", "b", axis=1), node("Gemm", "a w0 b0", "h"),
             node("Relu", "h", "r"), node("Gemm", "r w1 b1", "st", transB=1), node("Split", "st two", "s t", axis=1),
             node("Tanh", "s", "ls"), node("Exp", "ls", "e"), node("Mul", "b e", "be"), node("Add", "be t", "z1"),
             node("Concat", "a z1", "z", axis=1), node("ReduceSum", "ls one", "log_det", keepdims=0)]
    inits = [ints("i0", 0, 2), ints("i1", 1, 3), ints("two", 2, 2), ints("one", 1), real("w0", 2, 8), real("b0", 8),
             real("w1", 4, 8), real("b1", 4)]
    return model(nodes, inits, outputs=("z", "log_det"), properties={"nfcc.event": "x"})


@seed
def unary():
    return chain(["Neg", "Abs", "Sign", "Sqrt", "Exp", "Log", "Sin", "Cos", "Tan", "Atan", "Sinh", "Asinh", "Tanh",
                  "Erf", "Sigmoid", "Softplus", "Floor", "Ceil", "Round", "Reciprocal", "Identity", "Softsign",
                  "HardSwish"])


@seed
def activations():
    return model([node("LeakyRelu", "x", "a", alpha=0.2), node("Elu", "a", "b", alpha=1.5), node("Selu", "b", "c"),
                  node("Celu", "c", "d", alpha=2.0), node("PRelu", "d slope", "e"), node("HardSigmoid", "e", "f"),
                  node("ThresholdedRelu", "f", "g"), node("Clip", "g lo hi", "y")],
                 [real("slope", 4), numpy_helper.from_array(np.float32(-1), "lo"),
                  numpy_helper.from_array(np.float32(1), "hi")])


@seed
def gelu():
    return model([node("Gelu", "x", "a", approximate="tanh"), node("Gelu", "a", "b"), node("Mish", "b", "c"),
                  helper.make_node("FastGelu", ["c"], ["y"], domain="com.microsoft")], opset=20,
                 domains=["com.microsoft"])


@seed
def logic():
    return model([node("Greater", "x zero", "m"), node("Not", "m", "n"), node("And", "m n", "o"),
                  node("Xor", "o m", "p"), node("Where", "p x zero", "q"), node("Cast", "m", "r", to=F),
                  node("Equal", "r zero", "s"), node("LessOrEqual", "x r", "t"), node("Or", "s t", "u"),
                  node("IsNaN", "x", "v"), node("Or", "u v", "w"), node("Where", "w q r", "y")],
                 [numpy_helper.from_array(np.float32(0), "zero")])


@seed
def arithmetic():
    return model([node("Sub", "x c", "a"), node("Div", "a c", "b"), node("Pow", "b two", "d"),
                  node("Min", "d x c", "e"), node("Max", "e c", "f"), node("Mean", "f x", "g"),
                  node("Sum", "g x c", "h"), node("Mod", "h c", "y", fmod=1)],
                 [real("c", 4), numpy_helper.from_array(np.float32(2), "two")])


@seed
def shapes():
    return model([node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Unsqueeze", "n zero", "n1"),
                  node("Concat", "n1 rest", "to", axis=0), node("Reshape", "x to", "r"),
                  node("Transpose", "r", "t", perm=[0, 2, 1]), node("Flatten", "t", "f", axis=1),
                  node("Unsqueeze", "f one", "u"), node("Squeeze", "u one", "v"), node("Expand", "v to2", "w"),
                  node("Tile", "w reps", "y")],
                 [numpy_helper.from_array(np.int64(0), "zero"), ints("rest", 2, 2), ints("one", 1), ints("to2", 1, 4),
                  ints("reps", 1, 2)])


@seed
def slices():
    return model([node("Slice", "x st en ax sp", "a"), node("Pad", "a pads", "b"),
                  node("DepthToSpace", "c4", "d", blocksize=2), node("Trilu", "sq", "tr"), node("MatMul", "b tr", "y")],
                 [ints("st", -1), ints("en", -(2**31)), ints("ax", 1), ints("sp", -1), ints("pads", 0, 1, 0, -1),
                  real("sq", 4, 4), real("c4", 1, 4, 1, 1)])


@seed
def gathers():
    return model([node("GatherND", "x gi", "a", batch_dims=1), node("GatherElements", "c ge", "b", axis=1),
                  node("ScatterND", "b si a1", "d"), node("Add", "x d", "y")],
                 [numpy_helper.from_array(np.array([[[0], [2]]]), "gi"), real("c", 1, 4),
                  numpy_helper.from_array(np.array([[3, 2, 1, 0]]), "ge"),
                  numpy_helper.from_array(np.array([[0, 1]]), "si"), real("a1", 1)], dims=(1, 4))


@seed
def scatter():
    return model([node("Transpose", "x", "t", perm=[1, 0]), node("ScatterND", "zeros idx t", "s"),
                  node("Transpose", "s", "u", perm=[1, 0]),
                  node("ScatterElements", "u e v", "y", axis=1, reduction="add")],
                 [real("zeros", 4, 1), numpy_helper.from_array(np.array([[3], [1], [0], [2]]), "idx"),
                  numpy_helper.from_array(np.array([[0, 1]]), "e"), real("v", 1, 2)], dims=(1, 4))


@seed
def norms():
    return model([node("LayerNormalization", "x g b", "a", epsilon=1e-5),
                  node("BatchNormalization", "a g b mean var", "c"), node("Softmax", "c", "d"),
                  node("LogSoftmax", "d", "e", axis=1), node("LpNormalization", "e", "y")],
                 [real("g", 4), real("b", 4), real("mean", 4), numpy_helper.from_array(np.ones(4, np.float32), "var")])


@seed
def reductions():
    ops = ["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare",
           "ReduceLogSumExp"]
    nodes = [node(op, "x", f"r{i}", axes=[1], keepdims=1) for i, op in enumerate(ops)]
    return model(nodes + [node("Concat", " ".join(f"r{i}" for i in range(len(ops))), "y", axis=1)])


@seed
def attention():
    nodes = [node("Reshape", "x to", "t"), node("MatMul", "t wq", "q"), node("MatMul", "t wk", "k"),
             node("Transpose", "k", "kt", perm=[0, 2, 1]), node("MatMul", "q kt", "s"), node("Add", "s mask", "m"),
             node("Softmax", "m", "p", axis=-1), node("MatMul", "p t", "o"),
             node("Einsum", "o wq", "y", equation="bij,jk->bik")]
    mask = np.triu(np.full((2, 2), -np.inf, np.float32), 1)
    return model(nodes, [ints("to", -1, 2, 2), real("wq", 2, 2), real("wk", 2, 2),
                         numpy_helper.from_array(mask, "mask")])


@seed
def attention_op():
    attention = node("Attention", "q q q", "y", is_causal=1, q_num_heads=1, kv_num_heads=1)
    return model([node("Reshape", "x to", "q"), attention, node("RMSNormalization", "y g", "z")],
                 [ints("to", -1, 2, 2), real("g", 2)], opset=23, outputs=("z",))


@seed
def convolution():
    return model([node("Conv", "x w b", "a", pads=[1, 1, 1, 1], strides=[1, 1]),
                  node("MaxPool", "a", "c", kernel_shape=[2, 2]),
                  node("AveragePool", "c", "d", kernel_shape=[2, 2], count_include_pad=1),
                  node("ConvTranspose", "d w2", "e"), node("InstanceNormalization", "e g g", "f"),
                  node("GlobalAveragePool", "f", "h"), node("Flatten", "h", "y")],
                 [real("w", 2, 1, 3, 3), real("b", 2), real("w2", 2, 2, 2, 2), real("g", 2)], dims=("N", 1, 4, 4))


@seed
def constants():
    tensor = numpy_helper.from_array(np.array([1.5, -2], np.float16), "c")
    nodes = [helper.make_node("Constant", [], ["a"], value_float=2.0),
             helper.make_node("Constant", [], ["b"], value_ints=[1, 4]),
             helper.make_node("Constant", [], ["h"], value=tensor),
             node("ConstantOfShape", "b", "c0", value=helper.make_tensor("v", F, [1], [0.5])),
             node("Range", "i0 i4 i1", "r"), node("Cast", "r", "rf", to=F), node("EyeLike", "sq", "eye"),
             node("MatMul", "c0 eye", "ce"), node("CumSum", "rf i0", "cs"), node("Add", "x ce", "d"),
             node("Add", "d cs", "e"), node("Cast", "h", "hf", to=F), node("OneHot", "i1 i4 hf", "oh", axis=0),
             node("Mul", "e a", "f"), node("Add", "f oh", "y")]
    scalar = [numpy_helper.from_array(np.int64(v), f"i{v}") for v in (0, 1, 4)]
    return model(nodes, scalar + [real("sq", 4, 4)])


@seed
def dtypes():
    inits = [helper.make_tensor("f16", TensorProto.FLOAT16, [2], [15360, 0xC000]),
             helper.make_tensor("bf16", TensorProto.BFLOAT16, [2], [16256, 0]),
             helper.make_tensor("f64", TensorProto.DOUBLE, [2], [0.1, -1e300]),
             helper.make_tensor("i32", TensorProto.INT32, [2], [-1, 3]),
             helper.make_tensor("u8", TensorProto.UINT8, [2], [255, 0]), helper.make_tensor("b", B, [2], [True, False]),
             helper.make_tensor("raw", F, [2], np.array([1, 2], np.float32).tobytes(), raw=True)]
    nodes = [node("Cast", i.name, f"c_{i.name}", to=F) for i in inits]
    nodes += [node("Concat", " ".join(f"c_{i.name}" for i in inits), "all", axis=0), node("Add", "x all", "y")]
    return model(nodes, inits, dims=("N", 14))


@seed
def embedding():
    return model([node("Gather", "table steps", "e", axis=0), node("Add", "e x", "y")], [real("table", 8, 4)],
                 inputs=[value("x", F, ["N", 4]), value("steps", I, ["N"])])


@seed
def sequences():
    return model([node("SplitToSequence", "x two", "s", axis=1), node("SequenceAt", "s i0", "a"),
                  node("SequenceAt", "s i1", "b"), node("SequenceConstruct", "b a", "t"),
                  node("SequenceInsert", "t a", "u"), node("ConcatFromSequence", "u", "y", axis=1)],
                 [numpy_helper.from_array(np.int64(2), "two"), numpy_helper.from_array(np.int64(0), "i0"),
                  numpy_helper.from_array(np.int64(-1), "i1")])


@seed
def mask_indices():
    return model([node("Greater", "x zero", "m"), node("NonZero", "m", "nz"),
                  node("Transpose", "nz", "idx", perm=[1, 0]), node("GatherND", "x idx", "v"), node("Exp", "v", "e"),
                  node("ScatterND", "x idx e", "y")], [numpy_helper.from_array(np.float32(0), "zero")])


@seed
def spline_search():
    return model([node("Unsqueeze", "x last", "u"), node("GreaterOrEqual", "u knots", "ge"),
                  node("Cast", "ge", "gi", to=I), node("ReduceSum", "gi last", "n", keepdims=1),
                  node("GatherElements", "wide n", "w", axis=-1), node("Squeeze", "w last", "y")],
                 [ints("last", -1), real("knots", 5), real("wide", 1, 4, 6)], dims=(1, 4))


def branch(name, op):
    return helper.make_graph([helper.make_node(op, ["x"], [name])], name, [], [value(name, F, None)])


@seed
def control_if():
    return model([node("If", "c", "y", then_branch=branch("a", "Exp"), else_branch=branch("b", "Neg"))],
                 [numpy_helper.from_array(np.array(True), "c")])


@seed
def control_loop():
    body = helper.make_graph([helper.make_node("Add", ["s", "one"], ["t"]), helper.make_node("Identity", ["c"], ["d"])],
                             "body", [value("i", I, []), value("c", B, []), value("s", F, None)],
                             [value("d", B, []), value("t", F, None)])
    return model([node("Loop", "trip cond x", "y", body=body)],
                 [numpy_helper.from_array(np.int64(3), "trip"), numpy_helper.from_array(np.array(True), "cond"),
                  real("one", 4)])


@seed
def functions():
    made = helper.make_function("local", "Scale", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["s"]),
                                helper.make_node("LeakyRelu", ["s"], ["b"], alpha=0.5)], [helper.make_opsetid("", 17)])
    return model([helper.make_node("Scale", ["x"], ["h"], domain="local"),
                  helper.make_node("Scale", ["h"], ["y"], domain="local")], functions=[made], domains=["local"])


@seed
def external_data():
    made = model([node("Add", "x w", "y")], [real("w", 4)])
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in (("location", "model.onnx.data"), ("offset", "0"), ("length", "16")):
        tensor.external_data.append(StringStringEntryProto(key=key, value=text))
    return made


@seed
def random_op():
    return model([node("RandomNormalLike", "x", "n", mean=0.0), node("Add", "x n", "y")])


@seed
def det_inverse():
    return model([node("Det", "w", "d"), node("Abs", "d", "a"), node("Log", "a", "l"),
                  helper.make_node("Inverse", ["w"], ["v"], domain="com.microsoft"), node("MatMul", "x v", "m"),
                  node("Add", "m l", "y")], [numpy_helper.from_array(np.eye(4, dtype=np.float32) * 2, "w")],
                 domains=["com.microsoft"])


@seed
def top_k():
    return model([node("TopK", "c k", "v i"), node("ArgMax", "c", "am", axis=1), node("Unique", "c", "u"),
                  node("Size", "c", "n"), node("Cast", "n", "nf", to=F), node("Gather", "x am", "w", axis=1),
                  node("Mul", "w nf", "a"), node("Add", "a v", "y")], [ints("k", 1), real("c", 1, 4)], dims=(1, 4))


@seed
def opset_11():
    return model([node("Unsqueeze", "x", "u", axes=[1]), node("Squeeze", "u", "v", axes=[1]),
                  node("Clip", "v lo hi", "c"), node("Split", "c", "p q", axis=1, split=[2, 2]),
                  node("ReduceMean", "p", "m", axes=[1], keepdims=1), node("Concat", "q m", "r", axis=1),
                  node("Softmax", "r", "s", axis=1), node("Dropout", "s", "y")],
                 [numpy_helper.from_array(np.float32(-1), "lo"), numpy_helper.from_array(np.float32(1), "hi")],
                 opset=11)


@seed
def log_prob():
    nodes = [node("Sub", "x m", "d"), node("Div", "d s", "z"), node("Mul", "z z", "q"),
             node("ReduceSum", "q one", "r", keepdims=0), node("Mul", "r mh", "h"), node("Add", "h norm", "log_prob")]
    return model(nodes, [real("m", 4), numpy_helper.from_array(np.full(4, 2, np.float32), "s"), ints("one", 1),
                         numpy_helper.from_array(np.float32(-0.5), "mh"),
                         numpy_helper.from_array(np.float32(-6.448), "norm")], outputs=("log_prob",))


@seed
def cycle():
    return model([node("Add", "x b", "a"), node("Exp", "a", "b"), node("Neg", "b", "y")])


@seed
def nested():
    graph = branch("z", "Exp")
    for i in range(6):
        inner = graph
        graph = GraphProto()
        graph.name = f"g{i}"
        made = helper.make_node("If", ["c"], ["z"])
        for name in ("then_branch", "else_branch"):
            taken = inner if name == "then_branch" else branch("z", "Neg")
            made.attribute.append(AttributeProto(name=name, type=AttributeProto.GRAPH, g=taken))
        graph.node.append(made)
        graph.output.append(value("z", F, None))
    return model([node("If", "c", "y", then_branch=graph, else_branch=branch("b", "Neg"))],
                 [numpy_helper.from_array(np.array(True), "c")])


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus" / "onnx")
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SEEDS.items():
        (folder / f"{name}.onnx").write_bytes(make().SerializeToString())


if __name__ == "__main__":
    main()
