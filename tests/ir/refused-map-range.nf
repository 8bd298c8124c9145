# A lane map outside its operands.
func @f(x: f32[2]) {
    a: f32[2] = move x [1..2]   # error: map entry 1 is 2; the operands have 2 lanes
    return a
}
