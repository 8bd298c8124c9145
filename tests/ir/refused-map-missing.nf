# Without a map the lanes must be as many.
func @f(x: f32[9]) {
    a: f32[3] = move x   # error: without a map 9 lanes cannot become 3
    return a
}
