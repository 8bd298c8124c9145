# A function ends in return.
# error: func @f has no return
func @f(x: f32[2]) {
    a: f32[2] = neg x
