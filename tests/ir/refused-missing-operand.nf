# Only the bias of linear may be missing.
func @f(x: f32[2]) {
    a: f32[2] = add x, _   # error: operand 1 is missing
    return a
}
