# A column that is an input's copies it for the tokens that are needed: the other's exp does not stand.
module stage=normal
func @main(x: f32[2,2]) {
    e: f32[2,2] = exp x
    p: f32[2,2] = linear e, [[1, 1], [0, 2]]
    y: f32[1] = move p [0]
    return y
}
----
module stage=normal
func @main(x: f32[2,2]) {
    %1: f32[1] = move x [0]
    %2: f32[1] = exp %1
    return y=%2
}
