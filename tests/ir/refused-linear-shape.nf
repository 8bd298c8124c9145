# The weights fit the operand.
func @f(x: f32[3]) {
    a: f32[2] = linear x, [[1, 0], [0, 1]]   # error: x is f32[3], but the weights are f32[2,2]
    return a
}
