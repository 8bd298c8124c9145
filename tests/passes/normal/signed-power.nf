# A power of |x| with known exponents is 0 at 0 where they are positive; 1 to any power is 1.
func @main(x: f32[1,3], e: f32[1,3]) {
    s: f32[1,3] = sign x
    m: f32[1,3] = abs x
    p: f32[1,3] = pow m, [0.5, 1.5, 3]
    a: f32[1,3] = mul s, p
    q: f32[1,3] = add m, 1
    r: f32[1,3] = pow q, e
    t: f32[1,3] = sub r, 1
    u: f32[1,3] = div t, e
    b: f32[1,3] = mul s, u
    v: f32[1,3] = pow m, [0.5, -1.5, 3]
    c: f32[1,3] = mul s, v
    return a, b, c
}
----
module stage=normal
func @main(x: f32[1,3], e: f32[1,3]) {
    s: f32[1,3] = sign x
    m: f32[1,3] = abs x
    p: f32[1,3] = pow m, [0.5, 1.5, 3]
    %6: f32[1,3] = neg p
    %8: bool[1,3] = lt x, 0
    %9: f32[1,3] = select %8, %6, p
    %10: f32[] = constant 1
    q: f32[1,3] = add m, %10
    r: f32[1,3] = pow q, e
    t: f32[1,3] = sub r, %10
    u: f32[1,3] = div t, e
    %15: f32[1,3] = neg u
    %16: f32[1,3] = select %8, %15, u
    v: f32[1,3] = pow m, [0.5, -1.5, 3]
    c: f32[1,3] = mul s, v
    return a=%9, b=%16, c
}
