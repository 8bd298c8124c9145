"""nfcc check and verify: what is found in a model, numbers of its framework compared."""
import json

import numpy as np
import pytest


def test_check(tool):
    model = tool.model("lander_nfbc")
    assert "no problem found" in tool("check", model).stdout
    assert len(tool("check", model, "--explain").stdout) > 1000
    report = json.loads(tool("check", model, "--json").stdout)
    assert report["ok"] and report["direction"] == "density" and report["base_assumed"] and \
        "sample" in report["entries"]
    assert report["contexts"][0] == {"name": "obs", "type": "float32", "shape": [8]}
    refused = json.loads(tool("check", tool.model("w_freia__fwd__def"), "--json", code=1).stdout)
    assert not refused["ok"] and any("x_or_z" in p["text"] for p in refused["problems"])


def test_no_flow(tool):
    done = tool("check", tool.model("gauss_policy__mean_std__ts17"))
    assert "flow: no" in done.stdout and "entries: run\n" in done.stdout


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_verify_reference(tool, files, rows, save):
    known = {"x": rows["x"], "obs": rows["obs"], "z": rows["z"], "log_det": rows["logdet"],
             "log_prob": rows["log_prob"],
             "noise": rows["noise"], "to_event.x": rows["sample"]}
    save(files / "good.npz", **known)
    report = json.loads(tool("verify", tool.model("lander_nfbc"), "--reference", files / "good.npz", "--json").stdout)
    assert report["ok"] and report["reference_error"] < 1e-6 and report["compiled_rows"] == 4
    save(files / "wrong.npz", **{**known, "log_prob": rows["log_prob"] + 1})
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "wrong.npz", code=1)
    assert "'log_prob' differs from the reference" in done.stderr
    save(files / "unknown.npz", **known, extra=rows["x"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "unknown.npz", code=1)
    assert "unknown key 'extra'" in done.stderr and "to_event.log_det" in done.stderr
    save(files / "two.npz", **known, extra=rows["x"], more=rows["x"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "two.npz", code=1)
    assert "unknown keys 'extra', 'more'" in done.stderr and done.stderr.count("error") == 1
    save(files / "own.npz", **{**known, "logdet": rows["logdet"] + 1, "x": rows["x"]})
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "own.npz", code=1)
    assert "'log_det' is there twice" in done.stderr


def test_verify_reference_by_the_graphs_names(tool, files, rows):
    np.savez(files / "own.npz", obs=rows["obs"], x=rows["x"], logdet=rows["logdet"] + 1)
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "own.npz", code=1)
    assert "'log_det' differs from the reference" in done.stderr


def test_verify_reference_compares_something(tool, files, rows):
    np.savez(files / "rows.npz", obs=rows["obs"], x=rows["x"], noise=rows["noise"])
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "rows.npz", code=1)
    assert "nothing to compare" in done.stderr and "to_event.x" in done.stderr


def test_verify_inputs(tool, files, rows):
    np.savez(files / "in.npz", x=rows["x"], obs=rows["obs"])
    report = json.loads(tool("verify", tool.model("lander_nfbc"), "--inputs", files / "in.npz", "--json").stdout)
    assert report["rows"] == 16
    tool(tool.model("lander_nfbc"), "-o", files / "p.so", "--verify-inputs", files / "in.npz")


def test_a_check_of_nan_is_told(tool, tmp_path):
    """It compares nothing, and was a distance of 0."""
    (tmp_path / "m.nf").write_text("""module stage=imported
port in "obs" f32[3] batch 0
port out "q" f32[3] batch 0
func @main(obs: f32[1,3]) {
    square: f32[1,3] = mul obs, obs
    above: f32[1,3] = sub square, 400
    q: f32[1,3] = log above
    return q
}
""")
    said = "q is NaN in all rows checked: --verify-inputs"
    assert said in tool("verify", tmp_path / "m.nf").stderr
    np.savez(tmp_path / "rows.npz", obs=np.full((4, 3), [25, -21, 19], np.float32))
    assert said not in tool("verify", tmp_path / "m.nf", "--inputs", tmp_path / "rows.npz").stderr


def test_the_output_that_does_not_lead_back_is_named(tool, tmp_path):
    """Of several outputs the one that is as large as the event."""
    (tmp_path / "m.nf").write_text("""module stage=imported
port in "x" f32[3] batch 0
port out "size" f32[] batch 0
port out "y" f32[3] batch 0
port out "all" f32[] batch 0
func @main(x: f32[1,3]) {
    q: f32[1,3] = mul x, x
    size: f32[1] = reduce_sum q
    y: f32[1,3] = sin q
    all: f32[1] = reduce_sum y
    return size, y, all
}
""")
    said = tool("check", tmp_path / "m.nf", "--event", "x", code=1).stderr
    assert "not invertible from 'y' back to 'x': x[0] waits at 'q' (mul); x[1] waits" in said


@pytest.mark.parametrize("output,said", [("z", "not invertible from 'z' back to 'x'"),
                                         ("log_prob", "'x' cannot be found from them")])
def test_refused_models_are_explained(tool, tmp_path, output, said):
    """--explain printed nothing of a model that is refused: its rounds up to there."""
    (tmp_path / "m.nf").write_text(f"""module stage=imported
port in "x" f32[3] batch 0
port out "{output}" f32[{3 if output == "z" else ""}] batch 0
func @main(x: f32[1,3]) {{
    q: f32[1,3] = mul x, x
    y: f32[1,3] = sin q
    z: f32[1,3] = mul y, 2
    square: f32[1,3] = mul z, z
    half: f32[1,3] = mul square, -0.5
    sum: f32[1] = reduce_sum half
    log_prob: f32[1] = sub sum, 2.7568156
    return {output}
}}
""")
    done = tool("check", tmp_path / "m.nf", "--event", "x", "--explain", code=1)
    assert said in done.stderr
    assert "inverse        3 lanes through mul of 'z' (mul), operand 0\n" in done.stdout
    assert done.stdout.endswith("stops     no other lane becomes known\n\n")
    report = json.loads(tool("check", tmp_path / "m.nf", "--event", "x", "--explain", "--json", code=1).stdout)
    assert "stops" in report["explain"]


@pytest.mark.parametrize("key,value", [("obs", np.nan), ("x", np.inf), ("noise", -np.inf), ("x", 1e39)])
def test_rows_that_check_nothing(tool, files, rows, key, value):
    """NaN equals NaN: rows of them were "verified" with a distance of 0. A reference may hold -inf."""
    given = {"x": rows["x"].astype(float), "obs": rows["obs"], "noise": rows["noise"]}
    changed = given[key].astype(float)
    changed[3, 1] = value
    np.savez(files / "in.npz", **given | {key: changed})
    done = tool("verify", tool.model("lander_nfbc"), "--inputs", files / "in.npz", code=1)
    assert f"in.npz: key '{key}': row 3 holds {value:g}, which is no finite float32" in done.stderr
    np.savez(files / "reference.npz", x=rows["x"], obs=rows["obs"], log_prob=np.full(16, -np.inf))
    done = tool("verify", tool.model("lander_nfbc"), "--reference", files / "reference.npz", code=1)
    assert "'log_prob' differs from the reference" in done.stderr
