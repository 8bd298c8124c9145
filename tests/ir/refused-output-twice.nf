# Output names are unique.
func @f(x: f32[2]) {
    return a=x, a=x
}   # error: two outputs are called 'a'
