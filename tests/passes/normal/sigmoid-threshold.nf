# x < -9 ? e^x : sigmoid(x) is sigmoid(x); with a threshold nearer to 0 it is not.
func @main(x: f32[1,3]) {
    e: f32[1,3] = exp x
    s: f32[1,3] = sigmoid x
    c: bool[1,3] = lt x, -9
    a: f32[1,3] = select c, e, s
    d: bool[1,3] = lt x, -2
    b: f32[1,3] = select d, e, s
    return a, b
}
----
module stage=normal
func @main(x: f32[1,3]) {
    e: f32[1,3] = exp x
    s: f32[1,3] = sigmoid x
    d: bool[1,3] = lt x, -2
    b: f32[1,3] = select d, e, s
    return a=s, b
}
