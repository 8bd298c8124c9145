# max of two functions of the lane: which one is taken is no comparison that can be walked back.
# error: no simple function of the unknown lane
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    s: f32[1,2] = mul z, 0.5
    y: f32[1,2] = add s, 1
    x: f32[1,2] = max z, y
    log_det: f32[1] = constant [0]
    return x, log_det
}
