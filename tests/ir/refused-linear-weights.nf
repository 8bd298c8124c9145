# The weights of linear are constant.
func @f(x: f32[2], w: f32[2,2]) {
    a: f32[2] = linear x, w   # error: the weights of linear are not constant
    return a
}
