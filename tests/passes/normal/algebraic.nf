# The algebraic squash x / sqrt(1 + x^2), by rsqrt too, and its inverse.
func @main(x: f32[1,3]) {
    q: f32[1,3] = mul x, x
    p: f32[1,3] = add q, 1
    r: f32[1,3] = sqrt p
    a: f32[1,3] = div x, r
    i: f32[1,3] = div 1, r
    b: f32[1,3] = mul x, i
    o: f32[1,3] = sub 1, q
    t: f32[1,3] = sqrt o
    c: f32[1,3] = div x, t
    return a, b, c
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = asinh x
    %2: f32[1,3] = tanh %1
    %3: f32[1,3] = atanh x
    %4: f32[1,3] = sinh %3
    return a=%2, b=%2, c=%4
}
