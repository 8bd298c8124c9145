# log e^x is x.
func @main(x: f32[1,3]) {
    s: f32[1,3] = mul x, 2
    e: f32[1,3] = exp s
    y: f32[1,3] = log e
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    s: f32[1,3] = mul x, 2
    return y=s
}
