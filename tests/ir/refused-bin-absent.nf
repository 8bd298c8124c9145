# The bin file is not there.
bin "absent.nf.bin"
func @f() {
    a: f32[1] = constant bin[0,4]   # error: cannot be opened
    return a
}
