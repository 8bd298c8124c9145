# A reduction drops the last axis.
func @f(x: f32[1,2]) {
    a: f32[2] = reduce_sum x   # error: the result should be f32[1], not f32[2]
    return a
}
