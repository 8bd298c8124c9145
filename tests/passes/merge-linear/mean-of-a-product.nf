# LayerNorm behind a product: its mean is taken off in the weights.
module stage=derived
func @run(x: f32[1,2]) {
    y: f32[1,4] = linear x, [[1, 2, 3, 6], [0, 4, 0, 0]], [1, 1, 1, 5]
    s: f32[1] = reduce_sum y
    m: f32[1] = mul s, [0.25]
    r: f32[4] = move y
    d: f32[4] = sub r, m
    q: f32[4] = mul d, d
    return d, q
}
----
module stage=derived
func @run(x: f32[1,2]) {
    %3: f32[1,4] = linear x, [[-2, -1, 0, 3], [-1, 3, -1, -1]], [-1, -1, -1, 3]
    %4: f32[4] = move %3
    q: f32[4] = mul %4, %4
    return d=%4, q
}
