# An op that is not in the table.
func @f(x: f32[2]) {
    a: f32[2] = negate x   # error: unknown op 'negate'
    return a
}
