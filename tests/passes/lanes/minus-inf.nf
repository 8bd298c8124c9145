# -inf + x is -inf, also where all lanes of the constant are.
module stage=normal
func @main(x: f32[2]) {
    y: f32[2] = add x, [-inf, -inf]
    z: f32[2] = sub [-inf, -inf], x
    return y=y, z=z
}
----
module stage=normal
func @main(x: f32[2]) {
    %1: f32[2] = constant [-inf, -inf]
    return y=%1, z=%1
}
