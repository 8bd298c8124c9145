#!/usr/bin/env python3
"""Models made to be refused, or to be read in spite of how they were written: each with the words its message
must hold.

    tests/check_import_errors.py TOOL [--only WORD]

TOOL is the program import_check. A case is a function that returns (model or bytes, expected words or None, extra
files); None: the model must be read, and every row must equal ONNX's reference evaluator. Every case must end within
10 seconds and 1 GiB, without a crash.
"""
import argparse
import os
import resource
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper as h, numpy_helper as nh

from onnx_bytes import field

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def weights(name, *shape, seed=0):
    return nh.from_array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), name)


def ints(name, *values):
    return nh.from_array(np.array(values, dtype=np.int64), name)


def model(nodes, inits=(), x=("N", 4), y=None, opset=18, functions=(), domains=(), inputs=None, outputs=None):
    inputs = inputs or [h.make_tensor_value_info("x", F, x)]
    outputs = outputs or [h.make_tensor_value_info("y", F, y)]
    g = h.make_graph(nodes, "g", inputs, outputs, list(inits))
    imports = [h.make_opsetid("", opset)] + [h.make_opsetid(d, 1) for d in domains]
    return h.make_model(g, opset_imports=imports, ir_version=8, functions=list(functions))


def node(op, ins, outs, name=None, **attrs):
    return h.make_node(op, ins, outs, name=name, **attrs)


def copy(a="x", b="y"):
    return node("Identity", [a], [b])


# ---- bytes


def backwards(m):
    """The last node first, in every graph; once more, and the order is the old one."""
    def turn(nodes):
        copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(nodes)]
        del nodes[:]
        nodes.extend(copies)
        for attribute in (a for n in nodes for a in n.attribute if a.type == onnx.AttributeProto.GRAPH):
            turn(attribute.g.node)

    for holder in (m.graph, *m.functions):
        turn(holder.node)
    m.doc_string = "backwards" if m.doc_string != "backwards" else ""
    return m


def empty_file():
    return b"", "the file is empty"


def random_bytes():
    return np.random.default_rng(1).integers(0, 256, 4000, dtype=np.uint8).tobytes(), ""


def text_file():
    return b"hello, this is no model\n", ""


def truncated():
    return model([node("MatMul", ["x", "w"], ["y"])], [weights("w", 4, 4)]).SerializeToString()[:-30], "truncated"


def deep_messages():
    graph = b""
    for _ in range(80):  # graph { node { attribute { g { ... } } } }, by hand: the library refuses such depth itself
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph), "nested deeper than 64"


def graph_twice():
    data = model([copy()]).SerializeToString()
    return data + data, "appears twice"


def unknown_field():
    return model([copy()]).SerializeToString() + bytes([0xA2, 0x06, 0x01, 0x00]), "field 100 of ModelProto"


def many_empty_messages():
    return field(7, field(1, b"\x2a\x00" * 6_000_000)), "16 times its size"  # two bytes an attribute


# ---- graphs


def old_opset():
    return model([copy()], opset=9), "opset 9 is older than 11"


def no_opset():
    m = model([copy()])
    del m.opset_import[:]
    return m, "does not say which opset"


def two_unknown_ops():
    nodes = [node("Foo", ["x"], ["a"], "first"), node("Bar", ["a"], ["b"], "second"), node("Add", ["b", "x"], ["y"])]
    return model(nodes), ["'first' (Foo)", "'second' (Bar)"]


def unused_unknown_op():
    return model([node("Foo", ["x"], ["a"]), node("Bar", ["a"], ["b"]), copy()]), None


def custom_domain():
    return model([node("Foo", ["x"], ["y"], "n", domain="my.ops")], domains=["my.ops"]), "domain 'my.ops'"


def random_op():
    return model([node("RandomNormalLike", ["x"], ["r"], "noise"), node("Add", ["x", "r"], ["y"])]), \
        "make the noise an input"


def quantised():
    return model([node("DynamicQuantizeLinear", ["x"], ["q", "s", "p"]),
                  node("DequantizeLinear", ["q", "s", "p"], ["y"])]), "the model is quantised"


def squeezed_rows():
    return model([node("Squeeze", ["x", "zero"], ["y"])], [ints("zero", 0)]), "axis 0 is the rows of the batch"


def cycle():
    return model([node("Add", ["x", "b"], ["a"], "loop"), node("Neg", ["a"], ["b"]), copy("a")]), \
        "'loop' (Add): its input 'b' is made by a later node, and the graph has a cycle"


def nodes_behind_their_readers():
    """As ONNX Runtime reads them and its conversion to float16 writes them; also in a subgraph and around it. What is
    called `late` in the subgraph is another value than the one behind it: the If does not wait for that."""
    out = [h.make_tensor_value_info("chosen", F, None)]
    then = h.make_graph([node("Neg", ["early"], ["late"]), node("Mul", ["late", "w"], ["chosen"])], "then", [], out)
    other = h.make_graph([copy("w", "chosen")], "else", [], out)
    return backwards(model([node("Tanh", ["x"], ["early"]), node("If", ["yes"], ["a"], then_branch=then,
                                                                 else_branch=other),
                            node("Exp", ["a"], ["late"]), node("Add", ["late", "early"], ["y"])],
                           [weights("w", 4), nh.from_array(np.array(True), "yes")])), None


def two_ends_before_their_makers():
    """Each node is ordered once, though the search from the first end has found some of what the second needs."""
    return backwards(model([node("Neg", ["x"], ["a"]), node("Abs", ["a"], ["b"]), node("Tanh", ["b"], ["c"]),
                            node("Exp", ["c"], ["y"]), node("Cos", ["b"], ["d"]), node("Sin", ["d"], ["end"])])), None


def result_of_a_branch_behind_it():
    """The branch makes nothing: its result is a value of the graph around it, which nothing else reads."""
    then = h.make_graph([], "then", [], [h.make_tensor_value_info("late", F, None)])
    other = h.make_graph([copy("x", "same")], "else", [], [h.make_tensor_value_info("same", F, None)])
    return backwards(model([node("Tanh", ["x"], ["late"]), node("If", ["yes"], ["y"], then_branch=then,
                                                                else_branch=other)],
                           [nh.from_array(np.array(True), "yes")])), None


def function_behind_its_readers():
    f = h.make_function("my", "F", ["a"], ["b"], [node("Exp", ["a"], ["t"]), node("Neg", ["t"], ["b"])],
                        [h.make_opsetid("", 18)])
    return backwards(model([node("F", ["x"], ["y"], domain="my")], functions=[f], domains=["my"])), None


def missing_input():
    return model([node("Add", ["x", "nowhere"], ["y"])]), "'nowhere' does not exist"


def two_makers():
    return model([node("Neg", ["x"], ["y"]), node("Abs", ["x"], ["y"])]), "exists already"


def two_initializers():
    return model([node("Add", ["x", "w"], ["y"])], [weights("w", 4), weights("w", 4)]), "two initializers"


def symbolic_feature():
    return model([copy()], x=("N", "D")), "dimension 1, 'D', is not fixed"


def large_beside_zero():
    nodes = [node("ConstantOfShape", ["s"], ["c"]), node("Transpose", ["c"], ["t"], perm=[3, 2, 1, 0]),
             node("ReduceSum", ["t"], ["n"], keepdims=0), node("Add", ["x", "n"], ["y"])]
    return model(nodes, [ints("s", 0, 1 << 40, 1 << 40, 1 << 40)]), "the result would be too large"


def zero_batch_name():
    return model([node("Neg", ["x"], ["y"])], x=(None, 4)), None


def batch_moved():
    return model([node("Softmax", ["x"], ["y"], axis=0)], x=(4, "N")), None


def string_input():
    return model([copy()], inputs=[h.make_tensor_value_info("x", TensorProto.STRING, ("N", 4))]), "string"


def wrong_attribute_type():
    return model([node("Softmax", ["x"], ["y"], axis=1.5)]), "attribute 'axis' has the wrong type"


def new_attribute():
    return model([node("Relu", ["x"], ["y"], window=3)]), "attribute 'window' is not supported"


def gru(**more):
    """Two steps of a GRU of 3 numbers on rows of 4: x [batch, 2, 4] moved to [2, batch, 4]."""
    lengths = more.pop("lengths", "")
    return model([node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
                  node("GRU", ["t", "w", "r", "b", lengths], ["", "h"], hidden_size=3, linear_before_reset=1, **more),
                  node("Transpose", ["h"], ["y"], perm=[1, 0, 2])],
                 [weights("w", 1, 9, 4), weights("r", 1, 9, 3, seed=1), weights("b", 1, 18, seed=2), ints("n", 2, 2)],
                 x=("N", 2, 4))


def gru_is_unrolled():
    return gru(), None


def gru_with_lengths():
    return gru(lengths="n"), "sequence lengths and peepholes are not supported"


def gru_with_clip():
    return gru(clip=1.0), "clip"


def gru_with_other_activations():
    return gru(activations=["HardSigmoid", "Tanh"]), "an activation other than the usual ones"


def axis_outside():
    return model([node("Softmax", ["x"], ["y"], axis=7)]), "axis 7 of a tensor of rank 2"


def shapes_do_not_fit():
    return model([node("Add", ["x", "w"], ["y"])], [weights("w", 5)]), "do not fit together"


def rank_nine():
    return model([node("Reshape", ["x", "s"], ["y"])], [ints("s", -1, 1, 1, 1, 1, 1, 1, 1, 4)]), "rank 9"


def computed_condition():
    def branch(op):
        return h.make_graph([node(op, ["x"], [op])], op, [], [h.make_tensor_value_info(op, F, None)])

    nodes = [node("ReduceSum", ["x"], ["s"], keepdims=0), node("Greater", ["s", "zero"], ["c"]),
             node("If", ["c"], ["y"], "branch", then_branch=branch("Neg"), else_branch=branch("Abs"))]
    return model(nodes, [nh.from_array(np.float32(0), "zero")]), "'branch' (If): its condition depends on data"


def computed_sort():
    wide = node("Concat", ["x"] * 17, ["wide"], axis=1)
    return model([wide, node("TopK", ["wide", "k"], ["y", "i"], "sort")], [ints("k", 2)]), \
        "sorting of 68 computed values"


def batchnorm_training():
    inits = [weights(n, 4) for n in "abcd"]
    return model([node("BatchNormalization", ["x", "a", "b", "c", "d"], ["y", "m", "v"], training_mode=1)], inits), \
        "model.eval()"


# ---- sizes


def lying_dims():
    t = TensorProto(name="w", data_type=F, dims=[1 << 20, 1 << 20, 1 << 20])
    return model([node("Add", ["x", "w"], ["y"])], [t]), "larger than any file"


def short_weights():
    t = weights("w", 4, 4)
    t.dims[0] = 5
    return model([node("MatMul", ["x", "w"], ["y"])], [t]), "its shape needs 80"


def huge_input():
    return model([node("Neg", ["x"], ["y"])], x=("N", 1 << 30)), "dimension 1 is 1073741824"


def huge_fill():
    return model([node("ConstantOfShape", ["s"], ["c"], "fill"), node("Add", ["x", "c"], ["y"])],
                 [ints("s", 1 << 20, 1 << 20)]), "would be too large"


def huge_square():
    """It is square: the message said that it is not."""
    return model([node("Det", ["w"], ["d"]), node("Add", ["x", "d"], ["y"])],
                 [nh.from_array(np.zeros((4097, 4097), np.float32), "w")]), "4097 rows is not supported here; the most"


def huge_broadcast():
    nodes = [node("Expand", ["x", "s"], ["a"]), node("Expand", ["x", "t"], ["b"]), node("Add", ["a", "b"], ["y"])]
    return model(nodes, [ints("s", 1, 8192, 1, 1, 4), ints("t", 8192, 1, 1, 1, 4)]), "too large"


def many_fills():
    nodes = [node("ConstantOfShape", ["s"], ["c0"])]
    nodes += [node("Exp", [f"c{i}"], [f"c{i + 1}"]) for i in range(400)]
    nodes += [node("ReduceSum", ["c400"], ["r"], keepdims=0), node("Add", ["x", "r"], ["y"])]
    return model(nodes, [ints("s", 1 << 20)]), "too large"


def huge_product():
    nodes = [node("Expand", ["x", "s"], ["a"]), node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
             node("MatMul", ["a", "b"], ["y"])]
    return model(nodes, [ints("s", 1, 4000, 4)], x=("N", 1, 4)), "too large"


def endless_loop():
    body = h.make_graph([node("Identity", ["c"], ["d"]), node("Neg", ["v"], ["w"])], "b",
                        [h.make_tensor_value_info(n, t, None) for n, t in (("i", I), ("c", B), ("v", F))],
                        [h.make_tensor_value_info(n, t, None) for n, t in (("d", B), ("w", F))])
    return model([node("Loop", ["", "", "x"], ["y"], body=body)]), ["unroll to more than", "does not end"]


def loop_of_a_billion():
    m, _ = endless_loop()
    m.graph.node[0].input[0] = "n"
    m.graph.initializer.append(nh.from_array(np.array(10**9, dtype=np.int64), "n"))
    return m, ["unroll to more than", "does not end"]


def recursive_function():
    f = h.make_function("f", "A", ["a"], ["b"], [node("A", ["a"], ["b"], domain="f")],
                        [h.make_opsetid("", 18), h.make_opsetid("f", 1)])
    return model([node("A", ["x"], ["y"], domain="f")], functions=[f], domains=["f"]), "nested deeper than 64"


def doubling_functions():
    fs = []
    for i in range(40):
        body = [node(f"A{i + 1}", ["a"], ["m"], domain="f"), node(f"A{i + 1}", ["m"], ["b"], domain="f")]
        fs.append(h.make_function("f", f"A{i}", ["a"], ["b"], body, [h.make_opsetid("", 18), h.make_opsetid("f", 1)]))
    fs.append(h.make_function("f", "A40", ["a"], ["b"], [node("Neg", ["a"], ["b"])], [h.make_opsetid("", 18)]))
    return model([node("A0", ["x"], ["y"], domain="f")], functions=fs, domains=["f"]), "unroll to more than"


# ---- weights


def nan_weights():
    t = nh.from_array(np.array([[1, np.nan], [0, 1]], dtype=np.float32), "w")
    return model([node("MatMul", ["x", "w"], ["y"])], [t], x=("N", 2)), "contains NaN"


def infinite_weights():
    t = nh.from_array(np.array([[1, np.inf], [0, 1]], dtype=np.float32), "w")
    return model([node("MatMul", ["x", "w"], ["y"], "product")], [t], x=("N", 2)), \
        "'product' (MatMul): its weights contain infinity"


def infinite_mask():
    t = nh.from_array(np.array([[0, -np.inf, 0, 0]], dtype=np.float32), "w")
    return model([node("Add", ["x", "w"], ["a"]), node("Softmax", ["a"], ["y"])], [t]), None


def float8_weights():
    t = TensorProto(name="w", data_type=17, dims=[4], raw_data=b"\0\0\0\0")
    return model([node("Cast", ["w"], ["v"], to=F), node("Add", ["x", "v"], ["y"])], [t]), "float8e4m3fn"


def sparse_constant():
    return model([node("Constant", [], ["c"], value_string="a"), node("Add", ["x", "c"], ["y"])]), "string constants"


# ---- rows


def mean_over_batch():
    nodes = [node("ReduceMean", ["x", "a"], ["m"], "batch_mean", keepdims=1), node("Sub", ["x", "m"], ["y"])]
    return model(nodes, [ints("a", 0)]), "'batch_mean' (ReduceMean): mixes rows of the batch"


def sum_over_batch():
    return model([node("ReduceSum", ["x", "a"], ["y"], "total", keepdims=0)], [ints("a", 0)]), "mixes rows"


def reversed_batch():
    return model([node("Slice", ["x", "s", "e", "a", "t"], ["y"], "flip")],
                 [ints("s", -1), ints("e", -(2**62)), ints("a", 0), ints("t", -1)]), "mixes rows"


def fixed_batch_reshapes():
    nodes = [node("Reshape", ["x", "s"], ["a"]), node("Reshape", ["a", "t"], ["b"]), node("Add", ["b", "z"], ["y"])]
    zeros = nh.from_array(np.full((8, 4), 0.5, dtype=np.float32), "z")
    return model(nodes, [ints("s", 8, 2, 2), ints("t", 8, -1), zeros], x=(8, 4)), None


def baked_batch_claims_to_vary():
    zeros = nh.from_array(np.full((8, 4), 0.5, dtype=np.float32), "z")
    return model([node("Exp", ["x"], ["a"]), node("Add", ["a", "z"], ["y"])], [zeros]), None


def baked_batch_in_reshape():
    nodes = [node("Reshape", ["x", "s"], ["a"]), node("Softmax", ["a"], ["b"]), node("Reshape", ["b", "t"], ["y"])]
    return model(nodes, [ints("s", 8, 2, 2), ints("t", 8, 4)]), None


def shared_vector_beside_fixed_batch():
    nodes = [node("Add", ["x", "v"], ["a"]), node("ReduceSum", ["a", "k"], ["y"], "sum_of_rows", keepdims=0)]
    inputs = [h.make_tensor_value_info("x", F, (8, 4)), h.make_tensor_value_info("v", F, (4,))]
    return model(nodes, [ints("k", 0)], inputs=inputs), "'sum_of_rows' (ReduceSum): mixes rows"


def one_row_beside_fixed_batch():
    """A first dim of 1 is one row for all of them, not a batch of its own."""
    nodes = [node("Add", ["x", "v"], ["a"]), node("ReduceSum", ["a", "k"], ["y"], "sum_of_rows", keepdims=0)]
    inputs = [h.make_tensor_value_info("x", F, (8, 4)), h.make_tensor_value_info("v", F, (1, 4))]
    return model(nodes, [ints("k", 0)], inputs=inputs), "'sum_of_rows' (ReduceSum): mixes rows"


def fixed_batch_mixes():
    return model([node("Softmax", ["x"], ["y"], "over_rows", axis=0)], x=(8, 4)), "'over_rows' (Softmax): mixes rows"


def fixed_batch_row_constants():
    w = weights("w", 8, 4)
    return model([node("Add", ["x", "w"], ["y"], "rows_differ")], [w], x=(8, 4)), "'rows_differ' (Add): mixes rows"


def masked_sum():
    nodes = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]),
             node("Transpose", ["i"], ["t"], perm=[1, 0]),
             node("GatherND", ["x", "t"], ["v"]), node("ReduceSum", ["v"], ["s"], keepdims=1),
             node("Add", ["x", "s"], ["y"])]
    return model(nodes, [nh.from_array(np.float32(0), "zero")]), ["not a tensor of fixed shape", "mask"]


def masked_count():
    nodes = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]), node("Shape", ["i"], ["s"]),
             node("Cast", ["s"], ["f"], to=F),
             node("ReduceSum", ["f"], ["n"], keepdims=0), node("Add", ["x", "n"], ["y"])]
    return model(nodes, [nh.from_array(np.float32(0), "zero")]), ["mixes rows", "mask selects are combined"]


def masked_scatter():
    nodes = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]),
             node("Transpose", ["i"], ["t"], perm=[1, 0]),
             node("GatherND", ["x", "t"], ["v"]), node("Exp", ["v"], ["w"]), node("ScatterND", ["x", "t", "w"], ["y"])]
    return model(nodes, [nh.from_array(np.float32(0), "zero")]), None


def masked_scatter_behind_a_logarithm():
    """As a spline on atanh(x): of the numbers that show what masks select some are outside its domain."""
    nodes = [node("Mul", ["x", "x"], ["s"]), node("Sub", ["end", "s"], ["d"]), node("Log", ["d"], ["l"]),
             node("Gemm", ["l", "w"], ["g"]), node("Greater", ["g", "zero"], ["m"]),
             node("NonZero", ["m"], ["i"]), node("Transpose", ["i"], ["t"], perm=[1, 0]),
             node("GatherND", ["g", "t"], ["v"]), node("Exp", ["v"], ["e"]), node("ScatterND", ["g", "t", "e"], ["y"])]
    numbers = [nh.from_array(np.float32(v), n) for n, v in (("zero", 0), ("end", 25))]
    return model(nodes, numbers + [weights("w", 4, 4)]), None


def scatter_by_computed_indices():
    """A gate: the two largest of four, by softmax, and zeros elsewhere."""
    nodes = [node("TopK", ["x", "k"], ["v", "i"]), node("Softmax", ["v"], ["s"]), node("Mul", ["x", "zero"], ["none"]),
             node("ScatterElements", ["none", "i", "s"], ["y"], axis=-1)]
    return model(nodes, [ints("k", 2), nh.from_array(np.float32(0), "zero")]), None


def scatter_adds_by_computed_indices():
    """Indices that may be equal, and count from the end."""
    nodes = [node("ArgMax", ["x"], ["i"], axis=-1), node("Sub", ["i", "four"], ["j"]),
             node("Concat", ["i", "j", "i"], ["at"], axis=-1),
             node("Slice", ["x", "one", "four", "one"], ["w"]),
             node("ScatterElements", ["x", "at", "w"], ["y"], axis=1, reduction="add")]
    return model(nodes, [ints("one", 1), ints("four", 4)]), None


def scatter_of_a_part_by_computed_indices():
    nodes = [node("Reshape", ["x", "shape"], ["m"]), node("Slice", ["m", "zero", "one", "one"], ["part"]),
             node("ArgMax", ["part"], ["i"], axis=-1), node("Cast", ["i"], ["v"], to=F),
             node("ScatterElements", ["m", "i", "v"], ["y"], axis=-1)]
    return model(nodes, [ints("shape", -1, 2, 2), ints("zero", 0), ints("one", 1)]), "cover a part of the tensor only"


# ---- external data


def external(location, size=64, files=(), **entries):
    t = TensorProto(name="w", data_type=F, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        t.external_data.add(key=key, value=str(value))
    m = model([node("MatMul", ["x", "w"], ["y"])], [t])
    return m, {"m.onnx.data": b"\0" * size, **dict(files)}


def external_sibling():
    m, files = external("m.onnx.data")
    return m, None, files


def external_other_name():
    m, files = external("weights.bin", files={"weights.bin": b"\0" * 64})
    return m, ["tensor 'w' is stored in 'weights.bin'", "--external-data"], files


def external_absolute():
    m, files = external("/etc/hostname")
    return m, "only 'm.onnx.data' beside the model", files


def external_parent():
    m, files = external("../m.onnx.data")
    return m, "only 'm.onnx.data' beside the model", files


def external_short():
    m, files = external("m.onnx.data", size=60)
    return m, "needs 64 bytes at offset 0", files


def external_offset():
    m, files = external("m.onnx.data", offset=2**63 - 8, length=64)
    return m, "which has 64", files


def external_negative():
    m, files = external("m.onnx.data", offset=-4)
    return m, "which has 64", files


def external_missing():
    m, files = external("m.onnx.data")
    return m, "No such file", {}


def external_link():
    m, files = external("m.onnx.data")
    return m, "it is a link", {"m.onnx.data": None, "secret": b"\0" * 64}


def selection_from_selected_elements():
    """p = x[x > 0]; p[p > 1] = p[p > 1] + 5; x[x > 0] = 2 p."""
    outer = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]), node("Transpose", ["i"], ["it"]),
             node("GatherND", ["x", "it"], ["p"])]
    inner = [node("Greater", ["p", "one"], ["n"]), node("NonZero", ["n"], ["j"]), node("Transpose", ["j"], ["jt"]),
             node("GatherND", ["p", "jt"], ["q"]), node("Add", ["q", "five"], ["r"]),
             node("ScatterND", ["p", "jt", "r"], ["s"])]
    end = [node("Add", ["s", "s"], ["t"]), node("ScatterND", ["x", "it", "t"], ["y"])]
    numbers = [nh.from_array(np.float32(v), n) for n, v in (("zero", 0), ("one", 1), ("five", 5))]
    return model(outer + inner + end, numbers), None


def selection_sorted_and_scattered_into_zeros():
    """x[x > 0] = s: zeros of that many elements, the larger of p and 1 - p where p > 1."""
    outer = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]), node("Transpose", ["i"], ["it"]),
             node("GatherND", ["x", "it"], ["p"]), node("Shape", ["p"], ["size"]),
             node("ConstantOfShape", ["size"], ["zeros"])]
    inner = [node("Greater", ["p", "one"], ["n"]), node("NonZero", ["n"], ["j"]), node("Transpose", ["j"], ["jt"]),
             node("GatherND", ["p", "jt"], ["q"]), node("Sub", ["one", "q"], ["r"]),
             node("Unsqueeze", ["q", "last"], ["q1"]), node("Unsqueeze", ["r", "last"], ["r1"]),
             node("Concat", ["q1", "r1"], ["both"], axis=-1), node("TopK", ["both", "k"], ["sorted", "at"]),
             node("Squeeze", ["sorted", "last"], ["best"]), node("ScatterND", ["zeros", "jt", "best"], ["s"])]
    numbers = [nh.from_array(np.float32(v), n) for n, v in (("zero", 0), ("one", 1))]
    return model(outer + inner + [node("ScatterND", ["x", "it", "s"], ["y"])],
                 numbers + [ints("last", -1), ints("k", 1)]), None


def computed_index_beside_a_selection():
    """Numbers that prove the selection may lie outside the domain; a computed index is clamped there, too."""
    nodes = [node("Unsqueeze", ["x", "last"], ["x1"]), node("Greater", ["x1", "knots"], ["above"]),
             node("Cast", ["above"], ["counts"], to=I),
             node("ReduceSum", ["counts", "last"], ["at"], keepdims=0), node("Gather", ["table", "at"], ["v"]),
             node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]), node("Transpose", ["i"], ["it"]),
             node("GatherND", ["v", "it"], ["p"]), node("ScatterND", ["x", "it", "p"], ["y"])]
    table = nh.from_array(np.float32([0.5, 2, 3]), "table")
    return model(nodes, [nh.from_array(np.float32(0), "zero"), nh.from_array(np.float32([-1, 0, 1.7]), "knots"), table,
                         ints("last", -1)]), None


def selection_mixed_with_its_part():
    """Sums elements of x[x > 0] with the selected ones of them."""
    m, _ = selection_from_selected_elements()
    for n in m.graph.node:
        if n.output[0] == "t":
            n.input[1] = "r"
    return m, ["combined with each other", "selected by two different", "another mask", "do not fit",
               "do not broadcast"]


def sequence_map():
    """Each item is scaled by a tensor that all share, as torch.hstack maps at_least_1d."""
    body = h.make_graph([node("Mul", ["item", "w"], ["scaled"])], "body",
                        [h.make_tensor_value_info(n, F, None) for n in ("item", "w")],
                        [h.make_tensor_value_info("scaled", F, None)])
    return model([node("SequenceConstruct", ["x", "x"], ["s"]), node("SequenceMap", ["s", "scale"], ["t"], body=body),
                  node("ConcatFromSequence", ["t"], ["y"], axis=1)], [weights("scale", 4)]), None


def count_of_the_example():
    """Legacy files of a fixed batch hold how many elements the example's mask selected."""
    nodes = [node("Greater", ["x", "zero"], ["m"]), node("NonZero", ["m"], ["i"]), node("Transpose", ["i"], ["it"]),
             node("GatherND", ["x", "it"], ["p"]), node("Reshape", ["p", "three"], ["q"], name="baked"),
             node("ScatterND", ["x", "it", "q"], ["y"])]
    return model(nodes, [nh.from_array(np.float32(0), "zero"), ints("three", 3)], x=(2, 4)), \
        "'baked' (Reshape): 3 elements, as many as a mask selected in the example at export"


def resize_with_computed_sizes():
    return model([node("Cast", ["x"], ["s"], to=F), node("Resize", ["x", "", "s"], ["y"], name="up")], x=[4]), \
        ["not known at import", "up"]


def resize_of_a_fixed_batch():
    """A file of batch 8 has it in the sizes."""
    return model([node("Reshape", ["x", "image"], ["i"]), node("Resize", ["i", "", "", "sizes"], ["y"], mode="linear")],
                 [ints("image", 8, 2, 3, 4), ints("sizes", 8, 2, 6, 9)], x=(8, 24)), None


def pooled_past_the_border():
    """With ceil_mode a window may be larger than the image, as PyTorch and ONNX Runtime have it."""
    return model([node("MaxPool", ["x"], ["y"], kernel_shape=[4, 4], strides=[3, 3], ceil_mode=1)],
                 x=("N", 2, 2, 8)), None


def window_beyond_the_border():
    return model([node("MaxPool", ["x"], ["y"], kernel_shape=[4, 4], strides=[2, 3], ceil_mode=1)],
                 x=("N", 2, 2, 8)), "its window is larger than the image"


def several_rows_of_a_row():
    """As x.repeat_interleave(3, 0) in front of a sampler."""
    nodes = [node("Unsqueeze", ["x", "one"], ["u"]), node("Expand", ["u", "times"], ["v"]),
             node("Reshape", ["v", "flat"], ["y"])]
    return model(nodes, [ints("one", 1), ints("times", 1, 3, 1), ints("flat", -1, 4)]), \
        "each row of the batch gives 3 rows"


def limit():
    not os.environ.get("NFCC_NO_LIMIT") and resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (10, 10))


def write_files(folder, m, files):
    path = os.path.join(folder, "m.onnx")
    with open(path, "wb") as f:
        f.write(m if isinstance(m, bytes) else m.SerializeToString())
    for name, data in files.items():
        file = os.path.join(folder, name)
        if data is None:
            os.symlink("secret", file)
        else:
            with open(file, "wb") as f:
                f.write(data)
    return path


def rows_right(tool, path, folder):
    """The model on 8 rows at once by ONNX's reference evaluator against each row by ours."""
    from onnx.reference import ReferenceEvaluator

    m = onnx.load(path)
    shape = [d.dim_value or 8 for d in m.graph.input[0].type.tensor_type.shape.dim]
    axis = next((i for i, d in enumerate(m.graph.input[0].type.tensor_type.shape.dim) if not d.dim_value), 0)
    x = np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    for unknown in [n for n in m.graph.node if n.op_type in ("Foo", "Bar")]:
        m.graph.node.remove(unknown)
    m = backwards(m) if m.doc_string == "backwards" else m
    want = np.moveaxis(ReferenceEvaluator(m).run(None, {"x": x})[0], axis, 0)
    np.moveaxis(x, axis, 0).astype(np.float64).tofile(os.path.join(folder, "in"))
    p = subprocess.run([tool, path, "--rows", "8", folder, "x=" + os.path.join(folder, "in")], capture_output=True,
                       text=True, timeout=20)
    if p.returncode:
        return p.stderr.strip()
    ours = np.fromfile(os.path.join(folder, "0")).reshape(8, -1)
    return "" if np.allclose(ours, want.reshape(8, -1), atol=1e-5) else f"{ours[:2]} against {want[:2]}"


def verdict(tool, case):
    m, words, *files = case()
    with tempfile.TemporaryDirectory() as folder:
        path = write_files(folder, m, files[0] if files else {})
        if words is None:
            return rows_right(tool, path, folder)
        try:
            p = subprocess.run([tool, path], capture_output=True, text=True, timeout=20, preexec_fn=limit,
                               errors="replace")
        except subprocess.TimeoutExpired:
            return "took too long"
        if p.returncode != 1:
            return f"exit code {p.returncode}: {p.stderr.strip()[:300]}"
        wanted = [words] if isinstance(words, str) else words
        # of several words all must appear where the graph has several problems, else one
        hit = [w in p.stderr for w in wanted]
        good = all(hit) if case in (two_unknown_ops, external_other_name) else any(hit)
        return "" if good and "error: " in p.stderr else p.stderr.strip()[:500]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    helpers = {"backwards", "field", "weights", "ints", "model", "node", "copy", "gru", "external", "limit",
               "write_files", "rows_right", "verdict", "main"}
    cases = [(n, f) for n, f in globals().items()
             if callable(f) and getattr(f, "__module__", "") == "__main__" and n not in helpers]
    failed = 0
    for name, case in cases:
        if args.only not in name:
            continue
        why = verdict(os.path.abspath(args.tool), case)
        failed += why != ""
        print(f"{'FAIL' if why else 'ok  '} {name} {why}", flush=True)
    print(f"{failed} of {len(cases)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
