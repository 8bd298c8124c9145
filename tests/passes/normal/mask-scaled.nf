# Masks subtracted, and scaled afterwards, of single and of double constants, are masks too.
func @main(x: f32[2,2]) {
    c: f32[2,2] = constant [[0, 1e10], [0, 0]]
    l: f32[2,2] = sub x, c
    m: f32[2] = reduce_max l
    d: f64[2,2] = constant [[0, -1e9], [0, 0]]
    k: f32[2,2] = add x, d
    s: f32[] = constant 0.125
    ks: f32[2,2] = mul k, s
    n: f32[2] = reduce_max ks
    e: f64[1] = constant [-1e9]
    q: f32[2,2] = move x, e [0, 4, 2, 3]
    r: f32[2] = reduce_max q
    return m, n, r
}
----
module stage=normal
func @main(x: f32[2,2]) {
    %2: f32[2,2] = add x, [[-0, -inf], [-0, -0]]
    m: f32[2] = reduce_max %2
    %5: f32[2,2] = add x, [[0, -inf], [0, 0]]
    ks: f32[2,2] = mul %5, 0.125
    n: f32[2] = reduce_max ks
    %10: f32[2,2] = move x, [-inf] [0, 4, 2, 3]
    r: f32[2] = reduce_max %10
    return m, n, r
}
