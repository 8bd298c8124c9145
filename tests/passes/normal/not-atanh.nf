# The same shape with another constant is no atanh, but a logit.
func @main(x: f32[1,3]) {
    a: f32[1,3] = add 2, x
    b: f32[1,3] = sub 1, x
    q: f32[1,3] = div a, b
    l: f32[1,3] = log q
    y: f32[1,3] = mul 0.5, l
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    a: f32[1,3] = add 2, x
    %4: f32[1,3] = div a, 3
    %5: f32[1,3] = logit %4
    y: f32[1,3] = mul 0.5, %5
    return y
}
