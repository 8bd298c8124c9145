# max(x, 0) + log1p(e^-|x|)
func @main(x: f32[1,3]) {
    m: f32[1,3] = max x, 0
    a: f32[1,3] = abs x
    n: f32[1,3] = neg a
    e: f32[1,3] = exp n
    l: f32[1,3] = log1p e
    y: f32[1,3] = add m, l
    return y
}
----
module stage=normal
func @main(x: f32[1,3]) {
    %1: f32[1,3] = softplus x
    return y=%1
}
