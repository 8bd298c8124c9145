# Two event lanes, one of them lost: a graph that names its log_det claims to be a flow and is refused.
# error: no output is a distinct image of input 'x'
module stage=normal
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2]) {
    z: f32[1,2] = move x [0, 0]
    log_det: f32[1] = constant [0]
    return z, log_det
}
