# log(-x) - log1p(x) is the logit of -x.
func @main(x: f32[1,3]) {
    a: f32[1,3] = neg x
    b: f32[1,3] = log a
    c: f32[1,3] = log1p x
    d: f32[1,3] = sub b, c
    return d
}
----
module stage=normal
func @main(x: f32[1,3]) {
    a: f32[1,3] = neg x
    %2: f32[1,3] = logit a
    return d=%2
}
