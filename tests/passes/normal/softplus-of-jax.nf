# isnan(x) ? x : logaddexp(x, 0)
module stage=imported
func @main(x: f32[1,3]) {
    same: bool[1,3] = eq x, x
    bad: bool[1,3] = not same
    m: f32[1,3] = max x, 0
    a: f32[1,3] = abs x
    n: f32[1,3] = neg a
    e: f32[1,3] = exp n
    l: f32[1,3] = log1p e
    s: f32[1,3] = add m, l
    y: f32[1,3] = select bad, x, s
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = softplus x
    return y=%1
}
