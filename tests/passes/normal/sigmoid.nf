# 1 / (1 + e^-x)
func @main(x: f32[1,3]) {
    n: f32[1,3] = neg x
    e: f32[1,3] = exp n
    s: f32[1,3] = add 1, e
    y: f32[1,3] = div 1, s
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = sigmoid x
    return y=%1
}
