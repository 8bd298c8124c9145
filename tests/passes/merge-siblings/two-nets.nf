# Two nets on one input are one net of two tokens: products with weights of their own, a reduction of two, a mean spread
# over each. What follows them separately reads its part.
module stage=fused
func @run(x: f32[2]) {
    a: f32[16] = linear x, [[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3], [1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]], [-1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2]
    b: f32[16] = leaky_relu a {alpha=0.5}
    m: f32[] = reduce_sum b
    c: f32[16] = sub b, m
    f: f32[16] = linear x, [[4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2], [2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4]], [-2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1]
    g: f32[16] = leaky_relu f {alpha=0.5}
    n: f32[] = reduce_sum g
    h: f32[16] = sub g, n
    s: f32[16] = exp c
    y: f32[16] = mul s, h
    return y
}
----
module stage=fused
func @run(x: f32[2]) {
    %1: f32[2,2,16] = constant [[[3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3], [1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4]], [[4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2], [2, -2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4]]]
    %2: f32[2,16] = constant [[-1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1, -3, 2], [-2, 3, -1, 4, 0, -4, 1, -3, 2, -2, 3, -1, 4, 0, -4, 1]]
    %3: f32[2,16] = linear x, %1, %2
    b: f32[2,16] = leaky_relu %3 {alpha=0.5}
    %5: f32[2] = reduce_sum b
    %6: f32[2,16] = move %5 [0*16, 1*16]
    c: f32[2,16] = sub b, %6
    %8: f32[16] = move c [0..15]
    %9: f32[16] = move c [16..31]
    s: f32[16] = exp %8
    y: f32[16] = mul s, %9
    return y
}
