"""GridSample and AffineGrid: an image at computed places, against their definition place by place."""
import itertools
import re

import numpy as np
import pytest

from onnx_bytes import model, node

ROWS = 5
MODES = {"bilinear": 16, "nearest": 16, "bicubic": 16, "linear": 20, "cubic": 20}
PADDINGS = ("zeros", "border", "reflection")


def mirror(p, n, corners):
    low, span = (0, n - 1) if corners else (-0.5, n)
    if span == 0:
        return 0.0
    turns, rest = divmod(abs(p - low), span)
    return min(max((span - rest if turns % 2 else rest) + low, 0), n - 1)


def pixel_of(p, n, padding, corners):
    if padding == "border":
        return min(max(p, 0), n - 1)
    return mirror(p, n, corners) if padding == "reflection" else p


def keys(d, a=-0.75):
    d = abs(d)
    if d < 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return ((d - 5) * d + 8) * d * a - 4 * a if d < 2 else 0


def taps(x, n, mode, padding, corners):
    """[(pixel, weight)] along an axis of n pixels."""
    p = (x + 1) / 2 * (n - 1) if corners else ((x + 1) * n - 1) / 2
    if "cubic" in mode:
        first = np.floor(p)
        list_of = [(pixel_of(first + i, n, padding, corners), keys(p - first - i)) for i in range(-1, 3)]
    else:
        p = pixel_of(p, n, padding, corners)
        first = np.floor(p)
        list_of = [(np.rint(p), 1)] if mode == "nearest" else [(first, 1 - (p - first)), (first + 1, p - first)]
    return [(int(i), w) for i, w in list_of if 0 <= i < n]


def sampled(image, grid, mode, padding, corners):
    """image [C, sizes...], grid [out..., axes]."""
    y = np.zeros((len(image), *grid.shape[:-1]))
    for place in np.ndindex(*grid.shape[:-1]):
        along = [taps(float(x), n, mode, padding, corners) for x, n in zip(grid[place][::-1], image.shape[1:])]
        for choice in itertools.product(*along):
            weight = np.prod([w for _, w in choice])
            y[(slice(None), *place)] += weight * image[(slice(None), *(i for i, _ in choice))]
    return y


def sample_model(mode, padding, corners, image, out, opset):
    n = node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=corners)
    axes = len(image) - 1
    return model([n], [("x", ("N", *image)), ("grid", ("N", *out, axes))], [("y", ("N", image[0], *out))], opset=opset)


def run(tool, folder, inputs):
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
    tool(folder / "m.onnx", "-o", folder / "p.so")
    tool("run", folder / "p.so", "run", *(f"{name}={folder / name}.npy" for name in inputs), "-o", folder)
    return np.load(folder / "y.npy")


@pytest.mark.parametrize("image, out", [((3, 5, 7), (4, 3)), ((2, 1, 6), (2, 5)), ((2, 3, 4, 2), (2, 2, 3)),
                                        ((2, 9), (8,))])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("mode", MODES)
def test_places(tool, tmp_path, mode, padding, image, out):
    rng = np.random.default_rng(len(mode) + len(image))
    x = rng.standard_normal((ROWS, *image)).astype(np.float32)
    grid = rng.uniform(-2.3, 2.3, (ROWS, *out, len(image) - 1)).astype(np.float32)
    corners = int(rng.integers(2))
    (tmp_path / "m.onnx").write_bytes(sample_model(mode, padding, corners, image, out, MODES[mode]))
    want = [sampled(x[i].astype(float), grid[i].astype(float), mode, padding, corners) for i in range(ROWS)]
    np.testing.assert_allclose(run(tool, tmp_path, {"x": x, "grid": grid}), want, rtol=0, atol=3e-5)


@pytest.mark.parametrize("corners", [0, 1])
def test_spatial_transformer(tool, tmp_path, corners):
    """The image turned and moved as numbers beside it say."""
    image, out = (2, 6, 5), (4, 7)
    size = ("size", np.array([ROWS, image[0], *out], np.int64))
    nodes = [node("AffineGrid", ["theta", "size"], ["grid"], align_corners=corners),
             node("GridSample", ["x", "grid"], ["y"], mode="linear", padding_mode="border", align_corners=corners)]
    ports = [("x", (ROWS, *image)), ("theta", (ROWS, 2, 3))]
    (tmp_path / "m.onnx").write_bytes(model(nodes, ports, [("y", (ROWS, image[0], *out))], [size], opset=20))
    rng = np.random.default_rng(8)
    x = rng.standard_normal((ROWS, *image)).astype(np.float32)
    theta = rng.standard_normal((ROWS, 2, 3)).astype(np.float32)
    v, u = (np.linspace(-1, 1, n) if corners else (2 * np.arange(n) + 1) / n - 1 for n in out)
    places = np.stack([*np.meshgrid(u, v), np.ones(out)], -1)
    want = [sampled(x[i].astype(float), places @ theta[i].T, "linear", "border", corners) for i in range(ROWS)]
    np.testing.assert_allclose(run(tool, tmp_path, {"x": x, "theta": theta}), want, rtol=0, atol=3e-5)


@pytest.mark.parametrize("mode, padding, axes, says", [("bilinear", "wrap", 2, "padding_mode 'wrap' is not known"),
                                                       ("area", "zeros", 2, "mode 'area' is not known"),
                                                       ("bilinear", "zeros", 3, "an image .* at places .*")])
def test_refusals(tool, tmp_path, mode, padding, axes, says):
    n = node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding)
    ports = [("x", ("N", 2, 4, 4)), ("grid", ("N", 3, 3, axes))]
    (tmp_path / "m.onnx").write_bytes(model([n], ports, [("y", ("N", 2, 3, 3))], opset=16))
    assert re.search(says, tool(tmp_path / "m.onnx", "-o", tmp_path / "p.so", code=1).stderr)
