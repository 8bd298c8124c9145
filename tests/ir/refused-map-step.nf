# A step that never arrives.
func @f(x: f32[9]) {
    a: f32[3] = move x [0..5:2]   # error: steps of 2 do not lead from 0 to 5
    return a
}
