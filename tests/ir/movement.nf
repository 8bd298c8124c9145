# Lane maps: ranges, steps, repeats; several operands; no map is the lanes in order.
func @f(x: f32[1,6], y: f32[1,3]) {
    a: f32[1,3] = move x [0, 1, 2]
    b: f32[3] = move x [0..4:2]
    c: f32[6] = move x [5..0]
    d: f32[1,9] = move x, y
    e: f32[8] = move x, y [3, 3, 3, 3, 6..8, 0]
    f: f32[4,3] = move y [0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2]
    g: f32[2,2] = move x [4, 4, 5, 5]
    h: f32[3,2] = move x [0, 3, 1, 4, 2, 5]
    i: f32[0] = move x []
    j: f32[5] = move y [1*5]
    k: f32[4] = move x [5..1:-4*2]
    return a, b, c, d, e, f, g, h, i, j, k
}
----
func @f(x: f32[1,6], y: f32[1,3]) {
    a: f32[1,3] = move x [0..2]
    b: f32[3] = move x [0..4:2]
    c: f32[6] = move x [5..0]
    d: f32[1,9] = move x, y
    e: f32[8] = move x, y [3*4, 6..8, 0]
    f: f32[4,3] = move y [0..2*4]
    g: f32[2,2] = move x [4, 4, 5, 5]
    h: f32[3,2] = move x [0, 3, 1, 4, 2, 5]
    i: f32[0] = move x []
    j: f32[5] = move y [1*5]
    k: f32[4] = move x [5..1:-4*2]
    return a, b, c, d, e, f, g, h, i, j, k
}
