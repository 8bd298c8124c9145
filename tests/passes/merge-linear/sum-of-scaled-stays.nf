# One lane each: no product is made of it.
module stage=derived
func @run(x: f32[1,3]) {
    s: f32[1,3] = mul x, [1, 2, 3]
    y: f32[1,3] = add x, s
    return y
}
----
module stage=derived
func @run(x: f32[1,3]) {
    s: f32[1,3] = mul x, [1, 2, 3]
    y: f32[1,3] = add x, s
    return y
}
