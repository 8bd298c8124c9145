# isnan(x) ? -inf : x stays: outside its support a log density is -inf.
func @main(x: f32[1,3]) {
    e: f32[1,3] = log x
    c: bool[1,3] = isnan e
    y: f32[1,3] = select c, -inf, e
    d: bool[1,3] = eq e, e
    n: bool[1,3] = not d
    z: f32[1,3] = select n, -inf, e
    return y, z
}
----
module stage=normal
func @main(x: f32[1,3]) {
    e: f32[1,3] = log x
    c: bool[1,3] = isnan e
    %4: f32[1,3] = select c, -inf, e
    return y=%4, z=%4
}
