# The inverse of softplus as exporters write it: torch's SoftplusTransform, by exp and log1p, with a threshold.
func @main(x: f32[1,3]) {
    m: f32[1,3] = neg x
    e: f32[1,3] = exp m
    f: f32[1,3] = sub e, 1
    g: f32[1,3] = neg f
    l: f32[1,3] = log g
    a: f32[1,3] = add l, x
    o: f32[1,3] = neg e
    p: f32[1,3] = log1p o
    b: f32[1,3] = add x, p
    q: f32[1,3] = expm1 x
    r: f32[1,3] = log q
    c: bool[1,3] = lt 20, x
    d: f32[1,3] = select c, x, r
    return a, b, d
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = softplus_inv x
    return a=%1, b=%1, d=%1
}
