# The bin file lies beside the text.
bin "../secret"   # error: is not a plain file name
func @f() {
    return
}
