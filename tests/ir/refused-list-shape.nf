# The list has the declared shape.
func @f() {
    a: f32[3] = constant [1, 2]   # error: a list of shape f32[2] for a constant of type f32[3]
    return a
}
