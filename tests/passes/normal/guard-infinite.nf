# isinf(x) and x > 0 ? c : x is x for finite x (nan_to_num).
func @main(x: f32[1,3]) {
    e: f32[1,3] = exp x
    i: bool[1,3] = isinf e
    p: bool[1,3] = lt 0, e
    c: bool[1,3] = and i, p
    y: f32[1,3] = select c, 10000, e
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    e: f32[1,3] = exp x
    return y=e
}
