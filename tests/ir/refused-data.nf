# Data that was not written.
func @f() {
    a: f32[100] = constant ...   # error: the constant's data was not written
    return a
}
