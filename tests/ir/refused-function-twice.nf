# Function names are unique.
# error: two functions are called @f
func @f(x: f32[2]) {
    return x
}
func @f(x: f32[2]) {
    return x
}
