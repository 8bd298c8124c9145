# The result of linear has the operand's dims.
func @f(x: f32[1,2]) {
    a: f32[2] = linear x, [[1, 0], [0, 1]]   # error: the result should be f32[1,2], not f32[2]
    return a
}
