# c x + (not c) y is c ? x : y, also with conditions as numbers and c for c 1; of two conditions it stays.
func @main(x: f32[1,3], y: f32[1,3]) {
    c: bool[1,3] = lt x, y
    d: bool[1,3] = not c
    e: f32[1,3] = add c, 0
    f: f32[1,3] = add d, 0
    g: f32[1,3] = mul e, x
    h: f32[1,3] = mul y, f
    i: f32[1,3] = add g, h
    j: f32[1,3] = add h, g
    k: f32[1,3] = add f, g
    l: bool[1,3] = le x, y
    m: bool[1,3] = not l
    n: f32[1,3] = mul m, y
    o: f32[1,3] = add g, n
    return i, j, k, o
}
----
module stage=normal
func @main(x: f32[1,3], y: f32[1,3]) {
    c: bool[1,3] = lt x, y
    e: f32[1,3] = add c, 0
    %5: f32[] = constant 1
    g: f32[1,3] = mul e, x
    %7: f32[1,3] = select c, x, y
    %8: f32[1,3] = select c, x, %5
    l: bool[1,3] = le x, y
    m: bool[1,3] = not l
    n: f32[1,3] = mul m, y
    o: f32[1,3] = add g, n
    return i=%7, j=%7, k=%8, o
}
