# Dims are not negative.
func @f(x: f32[-1]) {   # error: dim -1 is not in 0..268435456
    return x
}
