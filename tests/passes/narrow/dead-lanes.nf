# As lanes, on a derived program: what log_det does not need of z is not computed twice.
module stage=derived
func @run(x: f32[4]) {
    e: f32[4] = exp x
    a: f32[2] = move e [0, 1]
    y: f32[2] = tanh a
    return z=y
}
----
module stage=derived
func @run(x: f32[4]) {
    %1: f32[2] = move x [0, 1]
    %2: f32[2] = exp %1
    %3: f32[2] = tanh %2
    return z=%3
}
