# A value is used before it is defined.
func @f(x: f32[2]) {
    a: f32[2] = neg b   # error: 'b' is not defined before this line
    b: f32[2] = neg x
    return a
}
