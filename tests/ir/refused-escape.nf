# Escapes.
func @"\n"() {   # error: an escape is
    return
}
