# A move reads each of its operands.
func @f(x: f32[2]) {
    a: f32[4] = move _, x [0..3]   # error: operand 0 is missing
    return a
}
