# x - mean(x) is no bijection: it stays as it is.
module stage=derived
func @run(x: f32[1,3]) {
    s: f32[1] = reduce_sum x
    m: f32[1,1] = move s
    h: f32[1,1] = mul m, [0.3333333333333333]
    y: f32[1,3] = sub x, h
    return y
}
----
module stage=derived
func @run(x: f32[1,3]) {
    s: f32[1] = reduce_sum x
    %2: f32[1,1] = move s
    h: f32[1,1] = mul %2, [0.33333334]
    y: f32[1,3] = sub x, h
    return y
}
