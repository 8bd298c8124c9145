# Some operand has the lanes of the result.
func @f(x: f32[1], y: f32[]) {
    a: f32[4] = add x, y   # error: no operand has the result's 4 lanes
    return a
}
