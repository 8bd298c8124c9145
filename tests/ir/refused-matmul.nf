# The shapes of matmul.
func @f(x: f32[1,2], y: f32[3,1]) {
    a: f32[1,1] = matmul x, y   # error: f32[1,2] and f32[3,1] do not fit
    return a
}
