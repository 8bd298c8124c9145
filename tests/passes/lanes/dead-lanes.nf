# Lanes that no output needs are not computed.
module stage=normal
func @main(x: f32[4]) {
    e: f32[4] = exp x
    y: f32[1] = move e [2]
    return y
}
----
module stage=normal
func @main(x: f32[4]) {
    %1: f32[1] = move x [2]
    %2: f32[1] = exp %1
    return y=%2
}
