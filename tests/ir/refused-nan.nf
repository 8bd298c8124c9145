# The bits of a NaN.
func @f() {
    a: f32[] = constant nan(0x7f800000)   # error: are not the bits of a NaN
    return a
}
