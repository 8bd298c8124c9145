# tanh by exponentials of x and -x, and by one of 2 x.
func @main(x: f32[1,3]) {
    m: f32[1,3] = neg x
    e: f32[1,3] = exp x
    f: f32[1,3] = exp m
    s: f32[1,3] = sub e, f
    t: f32[1,3] = add e, f
    a: f32[1,3] = div s, t
    d: f32[1,3] = mul x, -2
    g: f32[1,3] = exp d
    u: f32[1,3] = sub 1, g
    v: f32[1,3] = add g, 1
    b: f32[1,3] = div u, v
    return a, b
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = tanh x
    d: f32[1,3] = mul x, -2
    %5: f32[1,3] = mul d, -0.5
    %6: f32[1,3] = tanh %5
    return a=%1, b=%6
}
