# Lists nest evenly.
func @f() {
    a: f32[2] = constant [[1], 2]   # error: brackets are not nested evenly
    return a
}
