# Only leaky_relu and elu have alpha.
func @f(x: f32[2]) {
    a: f32[2] = neg x {alpha=2}   # error: neg has no alpha
    return a
}
