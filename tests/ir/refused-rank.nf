# At most eight dims.
func @f(x: f32[1,1,1,1,1,1,1,1,1]) {   # error: more than 8 dims
    return x
}
