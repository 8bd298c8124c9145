# Of a LayerNorm in front of a product with no more outputs its mean and its deviation remain.
module stage=derived
func @run(x: f32[4]) {
    s: f32[] = reduce_sum x
    m: f32[] = div s, [4]
    d: f32[4] = sub x, m
    q: f32[4] = mul d, d
    v: f32[] = reduce_sum q
    t: f32[] = sqrt v
    h: f32[4] = div d, t
    g: f32[4] = mul h, [1, 2, 1, 2]
    b: f32[4] = add g, [1, 0, 0, 1]
    row: f32[1,4] = move b
    y: f32[1,2] = linear row, [[2, 1], [3, 0], [4, 1], [2, 0]], [10, 20]
    return y
}
----
module stage=derived
func @run(x: f32[4]) {
    s: f32[] = reduce_sum x
    m: f32[] = div s, [4]
    d: f32[4] = sub x, m
    q: f32[4] = mul d, d
    v: f32[] = reduce_sum q
    t: f32[] = sqrt v
    %9: f32[] = div 1, t
    %10: f32[1,4] = move x
    %11: f32[4,2] = constant [[-2, 0.5], [2, -0.5], [0, 0.5], [0, -0.5]]
    %12: f32[2] = constant [14, 21]
    %13: f32[1,2] = linear %10, %11
    %14: f32[1,2] = mul %13, %9
    %15: f32[1,2] = add %14, %12
    return y=%15
}
