# Computed values are real: f32.
func @f(x: f32[2]) {
    a: f64[2] = neg x   # error: only constants are f64
    return a
}
