# max(x, 0.1 x) and min(x, 5 x) are a leaky_relu; max(x, 2 x) and max(x, 0.1 y) are none.
func @main(x: f32[1,3], y: f32[1,3]) {
    s: f32[1,3] = mul x, 0.1
    a: f32[1,3] = max x, s
    t: f32[1,3] = div x, 0.2
    b: f32[1,3] = min t, x
    u: f32[1,3] = mul x, 2
    c: f32[1,3] = max x, u
    v: f32[1,3] = mul y, 0.1
    d: f32[1,3] = max x, v
    return a, b, c, d
}
----
module stage=normal
func @main(x: f32[1,3], y: f32[1,3]) {
    %2: f32[] = constant 0.1
    %3: f32[1,3] = leaky_relu x {alpha=0.10000000149011612}
    %4: f32[1,3] = leaky_relu x {alpha=4.999999925494195}
    u: f32[1,3] = mul x, 2
    c: f32[1,3] = max x, u
    v: f32[1,3] = mul y, %2
    d: f32[1,3] = max x, v
    return a=%3, b=%4, c, d
}
