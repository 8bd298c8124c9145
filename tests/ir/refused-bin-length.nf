# The length is that of the type.
bin "absent.nf.bin"
func @f() {
    a: f32[1] = constant bin[0,8]   # error: length 8, but the constant has 4 bytes
    return a
}
