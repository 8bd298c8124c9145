# Adjoint products on merged weights are merged, whatever they read.
module stage=fused
func @run(x: f32[1]) {
    y: f32[1] = exp x
    return y
}
func @score(x: f32[1]) {
    v: f32[1,16] = constant [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]]
    w: f32[1,16] = constant [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]
    a: f32[16] = linear x, v
    b: f32[16] = linear x, w
    c: f32[16] = exp a
    d: f32[16] = tanh b
    p: f32[1] = linear_t c, v
    q: f32[1] = linear_t d, w
    r: f32[1] = add p, q
    return score=r
}
----
module stage=fused
func @run(x: f32[1]) {
    y: f32[1] = exp x
    return y
}

func @score(x: f32[1]) {
    %1: f32[2,1,16] = constant [[[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3]], [[1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]]]
    %2: f32[2,16] = linear x, %1
    %3: f32[16] = move %2 [0..15]
    %4: f32[16] = move %2 [16..31]
    c: f32[16] = exp %3
    d: f32[16] = tanh %4
    %7: f32[2,16] = move c, d
    %8: f32[2,1] = linear_t %7, %1
    %9: f32[1] = move %8 [0]
    %10: f32[1] = move %8 [1]
    r: f32[1] = add %9, %10
    return score=r
}
