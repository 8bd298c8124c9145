# error: a derived module has a function @run
module stage=derived
func @f(x: f32[2]) {
    return x
}
