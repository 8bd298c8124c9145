"""What ./dev bench times: a work is a function of a flow on so many rows. Models and inputs come from fixed seeds, so
every worker makes the same ones for itself."""
import os

import numpy as np

import flows


class Work:
    """`function` is what the peers compute; `entry` and `prepared` what nfcc is called for; `same` names the work whose
    peers' figures are taken (where only nfcc's part differs)."""

    def __init__(self, folder, key, title, flow, function, entry, rows, observations=None, prepared=False, same=None,
                 shared=False):
        self.folder, self.key, self.title, self.flow, self.model = folder, key, title, flow, flow.name
        self.function, self.entry, self.rows, self.prepared = function, entry, rows, prepared
        self.observations = observations or rows
        self.same, self.peers_share = same, shared

    def inputs(self, shared=False):
        """[event, obs]: obs of all rows, or (shared) as few as there are."""
        rng = np.random.default_rng(7)
        event = rng.normal(size=(self.rows, self.flow.dims)).astype(np.float32)
        obs = rng.normal(size=(self.observations, self.flow.obs)).astype(np.float32)
        few = shared or self.peers_share
        return [event, obs if few else np.ascontiguousarray(np.broadcast_to(obs, (self.rows, self.flow.obs)))]

    def output_shapes(self):
        event, one = (self.rows, self.flow.dims), (self.rows,)
        return {"log_prob": [one], "sample_and_log_prob": [event, one]}.get(self.entry, [event])

    def onnx(self):
        path = os.path.join(self.folder, self.key + ".onnx")
        if not os.path.exists(path):
            event, obs = (list(a.shape) for a in self.inputs())
            outputs = {f"y{i}": list(s) for i, s in enumerate(self.output_shapes())}
            part = f"{path}.{os.getpid()}"
            flows.write_onnx(part, self.function, self.flow.folded, {"event": event, "obs": obs}, outputs)
            os.replace(part, path)
        return path

    def reference(self, most=64):
        """The first rows of each output, in double."""
        event, obs = self.inputs()
        if self.entry == "act":
            return None
        o = flows.NumPy(self.flow.folded)
        few = obs.astype(np.float64) if self.peers_share else obs[:most].astype(np.float64)
        return self.function(o, event[:most].astype(np.float64),
                             np.broadcast_to(few, (min(most, self.rows), few.shape[1])))


def all_works(folder):
    small, pusht, camera = flows.Small(), flows.PushT(), flows.Camera()
    works = [
        Work(folder, "small_decision", "small policy: sample and its log_prob, 1 row", small, small.sample_and_log_prob,
             "sample_and_log_prob", 1),
        Work(folder, "small_prepared", "the same, new noise on a prepared observation", small,
             small.sample_and_log_prob, "sample_and_log_prob", 1, prepared=True, same="small_decision"),
        Work(folder, "small_log_prob", "small policy: log_prob, 1024 rows", small, small.log_prob, "log_prob", 1024),
        Work(folder, "pusht_sample", "PushT 10.9 M: sample, 1 row", pusht, pusht.sample, "sample", 1),
        Work(folder, "pusht_64", "PushT: 64 samples of one observation, which peers are given 64 times", pusht,
             pusht.sample, "sample", 64, observations=1),
        Work(folder, "pusht_64_shared", "the same, the peers' graph rewritten to share the observation's part", pusht,
             pusht.sample_shared, "sample", 64, observations=1, shared=True),
        Work(folder, "pusht_log_prob", "PushT: log_prob, 4096 rows", pusht, pusht.log_prob, "log_prob", 4096),
        Work(folder, "camera_decision", "a picture of 64 x 64: sample and its log_prob, 1 row", camera,
             camera.sample_and_log_prob, "sample_and_log_prob", 1),
        Work(folder, "camera_log_prob", "the same policy: log_prob, 64 rows, each with its picture", camera,
             camera.log_prob, "log_prob", 64),
        Work(folder, "pusht_act", "PushT: act, a sample denoised by its gradient, 1 row", pusht, pusht.act, "act", 1),
    ]
    return {w.key: w for w in works}
