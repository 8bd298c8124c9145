# No lane, but strides that no integer holds.
func @f(x: f32[0,268435456,268435456,268435456]) {   # error: more than 268435456 lanes
    return x
}
