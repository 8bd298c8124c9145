# A scale and a shift after a product go into its weights and bias.
module stage=derived
func @run(x: f32[1,2]) {
    h: f32[1,3] = linear x, [[1, 2, 3], [4, 5, 6]], [1, 1, 1]
    c: f32[1,3] = mul h, [2, 0.5, -1]
    y: f32[1,3] = add c, [0, 0, 10]
    return y
}
----
module stage=derived
func @run(x: f32[1,2]) {
    %3: f32[1,3] = linear x, [[2, 1, -3], [8, 2.5, -6]], [2, 0.5, 9]
    return y=%3
}
