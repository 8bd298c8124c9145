# Every type of constant; exact reals; inline constants keep their place; a flat list stands for any shape.
func @f(x: f32[1,2]) {
    a: f32[2,2] = constant [1, 2, 3, 4]
    b: f64[] = constant 0.1
    c: f32[4] = constant [0.1, -0, inf, -inf]
    d: f32[4] = constant [nan, nan(0xffc00000), nan(0x7f800001), 1e-45]
    e: f64[3] = constant [nan, nan(0xfff8000000000000), 4.9406564584124654e-324]
    g: i64[3] = constant [-9223372036854775808, 9223372036854775807, 0]
    h: bool[2,1] = constant [[1], [0]]
    i: f32[1000] = constant splat 0.25
    j: f32[0] = constant []
    k: f32[2] = constant [0x1.8p+1, 16777217]
    l: f64[3] = constant [123456789012, 1e22, 3.4028234663852886e+38]
    m: f32[1,2] = linear x, [[2, 0], [0, 3]], [1, 1]
    n: f32[1,2] = mul m, f64 0.1
    o: f32[1,2] = select bool [[1, 0]], n, 3
    p: bool[1,2] = lt o, [[nan, inf]]
    return a, b, c, d, e, g, h, i, j, k, l, o, p
}
----
func @f(x: f32[1,2]) {
    a: f32[2,2] = constant [[1, 2], [3, 4]]
    b: f64[] = constant 0.1
    c: f32[4] = constant [0.1, -0, inf, -inf]
    d: f32[4] = constant [nan, nan(0xffc00000), nan(0x7f800001), 1e-45]
    e: f64[3] = constant [nan, nan(0xfff8000000000000), 5e-324]
    g: i64[3] = constant [-9223372036854775808, 9223372036854775807, 0]
    h: bool[2,1] = constant [[1], [0]]
    i: f32[1000] = constant splat 0.25
    j: f32[0] = constant []
    k: f32[2] = constant [3, 16777216]
    l: f64[3] = constant [123456789012, 1e+22, 3.4028234663852886e+38]
    m: f32[1,2] = linear x, [[2, 0], [0, 3]], [1, 1]
    n: f32[1,2] = mul m, f64 0.1
    o: f32[1,2] = select bool [[1, 0]], n, 3
    p: bool[1,2] = lt o, [[nan, inf]]
    return a, b, c, d, e, g, h, i, j, k, l, o, p
}
