# A repeat that would not end.
func @f(x: f32[2]) {
    a: f32[3] = move x [0..1*2000000000]   # error: the map has more entries than the result's 3 lanes
    return a
}
