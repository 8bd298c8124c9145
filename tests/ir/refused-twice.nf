# A label is defined twice.
func @f(x: f32[2]) {
    a: f32[2] = neg x
    a: f32[2] = neg x   # error: 'a' is defined twice
    return a
}
