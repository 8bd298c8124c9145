# A lane map of the wrong length.
func @f(x: f32[2]) {
    a: f32[3] = move x [0, 1]   # error: the map has 2 entries, the result 3 lanes
    return a
}
