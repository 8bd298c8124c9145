"""One row reads a compact image of large weights, which nfcc_open makes: the numbers are those of the file."""
import numpy as np
import pytest

import nfcc

pytest.importorskip("onnx")
large = pytest.importorskip("large")


class Spoiled(large.Graph):
    """Some weights are 0, -0, denormal, far smaller or larger than the others: these have no compact form, or a special
    one."""

    ODD = np.array([0, -0.0, 1e-42, 1e-9, -3e-6, 5.0], np.float32)

    def normal(self, *shape, scale=1.0):
        w = super().normal(*shape, scale=scale)
        some = self.random.random(shape) < 2e-3
        return np.where(some, self.random.choice(self.ODD, shape), w).astype(np.float32)


@pytest.fixture(scope="module", params=["f32", "bf16"])
def path(request, tool, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compact")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "Graph", Spoiled)
        large.realnvp(folder / "model.onnx", 24, 2, 600, 3)
    tool(folder / "model.onnx", "-o", folder / "policy.so", "--cpu", "native", "--weights", request.param,
         "--event", "x")
    return folder / "policy.so"


@pytest.mark.parametrize("options", [{}, {"bulk": True}, {"shared": True}], ids=str)
def test_a_row_alone_has_the_bits_it_has_beside_others(path, options):
    policy, plain = nfcc.open(path, **options), nfcc.open(path, shared=True)
    policy.selftest()
    x = np.random.default_rng(3).standard_normal((70, 24)).astype(np.float32)
    (z, _), score = plain.to_latent(x), plain.score(x)
    for i in range(5):
        assert policy.to_latent(x[i:i + 1])[0].tobytes() == z[i:i + 1].tobytes()
        assert policy.score(x[i:i + 1]).tobytes() == score[i:i + 1].tobytes()
    assert policy.to_latent(x)[0].tobytes() == z.tobytes()
