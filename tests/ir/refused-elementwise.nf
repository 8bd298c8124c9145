# Operands have the lanes of the result, or one.
func @f(x: f32[2], y: f32[4]) {
    a: f32[4] = add x, y   # error: operand 0 has 2 lanes, the result 4
    return a
}
