# Lists nest evenly.
func @f() {
    a: f32[2,2] = constant [[1, 2], [3]]   # error: lists of unequal length: 2 and 1
    return a
}
