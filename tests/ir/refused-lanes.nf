# Too many lanes.
func @f(x: f32[65536,65536]) {   # error: more than 268435456 lanes
    return x
}
