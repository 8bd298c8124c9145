"""ONNX files written by hand, so that tests of them need no package: protobuf fields, tensors, nodes, a graph."""
import struct

import numpy as np


def varint(n):
    out = b""
    n &= 2**64 - 1
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, payload):
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    payload = payload.encode() if isinstance(payload, str) else payload
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def tensor(array, name=""):
    kind = {"float32": 1, "int64": 7, "bool": 9}[str(array.dtype)]
    dims = b"".join(field(1, d) for d in array.shape)
    return dims + field(2, kind) + (field(8, name) if name else b"") + field(9, array.tobytes())


def value_info(name, dims):
    shape = b"".join(field(1, field(1, d) if isinstance(d, int) else field(2, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def attribute(name, value):
    """A number, a text, or several integers."""
    if isinstance(value, float):
        return field(1, name) + varint(2 << 3 | 5) + struct.pack("<f", value) + field(20, 1)
    if isinstance(value, str):
        return field(1, name) + field(4, value) + field(20, 3)
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + b"".join(field(8, int(v)) for v in value) + field(20, 7)


def node(op, inputs, outputs, **attributes):
    return (b"".join(field(1, n) for n in inputs) + b"".join(field(2, n) for n in outputs) + field(4, op) +
            b"".join(field(5, attribute(n, v)) for n, v in attributes.items()))


def model(nodes, inputs, outputs, held=(), opset=17):
    """inputs, outputs: [(name, dims)]; held: [(name, array)]."""
    graph = b"".join(field(1, n) for n in nodes) + field(2, "g")
    graph += b"".join(field(5, tensor(np.asarray(array), name)) for name, array in held)
    graph += b"".join(field(11, value_info(*port)) for port in inputs)
    graph += b"".join(field(12, value_info(*port)) for port in outputs)
    return field(1, 8) + field(8, field(1, "") + field(2, opset)) + field(7, graph)
