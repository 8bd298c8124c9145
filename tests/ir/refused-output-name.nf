# An unnamed value needs an output name.
func @f(x: f32[2]) {
    %1: f32[2] = neg x
    return %1   # error: output %1 needs a name
}
