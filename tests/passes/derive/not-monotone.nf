# x * sigmoid(x) falls and rises: a lane that is used twice must be seen to be invertible.
# error: neither solved nor proved monotone
module stage=normal
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,2]) {
    s: f32[1,2] = sigmoid x
    z: f32[1,2] = mul x, s
    log_det: f32[1] = constant [0]
    return z, log_det
}
