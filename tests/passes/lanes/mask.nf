# A masked coupling works on half of its lanes: m x + (1 - m)(x e^s + t).
module stage=normal
func @main(x: f32[1,4]) {
    m: f32[4] = constant [1, 0, 1, 0]
    w: f32[4] = constant [0, 1, 0, 1]
    a: f32[1,4] = mul x, m
    s: f32[1,4] = linear a, [[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 1], [2, 2, 2, 2]]
    e: f32[1,4] = exp s
    b: f32[1,4] = mul x, e
    c: f32[1,4] = mul b, w
    y: f32[1,4] = add a, c
    return y
}
----
module stage=normal
func @main(x: f32[1,4]) {
    %1: f32[1,2] = move x [0, 2]
    %3: f32[1,2] = linear %1, [[2, 4], [1, 1]]
    %4: f32[2] = move %3
    %5: f32[2] = exp %4
    %6: f32[2] = move x [1, 3]
    %7: f32[2] = mul %6, %5
    %8: f32[1,4] = move x, %7 [0, 4, 2, 5]
    return y=%8
}
