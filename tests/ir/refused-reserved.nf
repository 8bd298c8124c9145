# A word of the language as a bare name.
func @f(inf: f32[1]) {   # error: 'inf' is a word of the language
    return
}
