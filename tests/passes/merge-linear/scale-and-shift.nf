# An ActNorm in front of a product goes into it.
module stage=derived
func @run(x: f32[1,2]) {
    c: f32[1,2] = mul x, [2, 4]
    d: f32[1,2] = add c, [1, -1]
    y: f32[1,3] = linear d, [[1, 2, 3], [4, 5, 6]]
    return y
}
----
module stage=derived
func @run(x: f32[1,2]) {
    %3: f32[1,3] = linear x, [[2, 4, 6], [16, 20, 24]], [-3, -3, -3]
    return y=%3
}
