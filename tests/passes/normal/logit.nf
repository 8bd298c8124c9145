# log(x / (1 - x)), log x - log1p(-x) and -log(1 / x - 1)
func @main(x: f32[1,3]) {
    r: f32[1,3] = sub 1, x
    q: f32[1,3] = div x, r
    a: f32[1,3] = log q
    n: f32[1,3] = neg x
    l: f32[1,3] = log1p n
    k: f32[1,3] = log x
    b: f32[1,3] = sub k, l
    i: f32[1,3] = div 1, x
    o: f32[1,3] = sub i, 1
    p: f32[1,3] = log o
    c: f32[1,3] = neg p
    return a, b, c
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = logit x
    return a=%1, b=%1, c=%1
}
