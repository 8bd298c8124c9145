# Operand counts.
func @f(x: f32[1], y: f32[1]) {
    a: f32[1] = exp x, y   # error: exp takes 1 operand, not 2
    return a
}
