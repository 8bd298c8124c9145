# Both branches rise, but the one for 0 <= x < 1 lies below: what chooses is x itself, no comparison with a threshold.
# error: its condition is not a comparison
module stage=normal
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2]) {
    t: f32[1,2] = tanh x
    y: f32[1,2] = add x, t
    below: f32[1,2] = sub y, 5
    n: f32[1,2] = floor x
    unit: bool[1,2] = eq n, 0
    z: f32[1,2] = select unit, below, y
    log_det: f32[1] = constant [0]
    return z, log_det
}
