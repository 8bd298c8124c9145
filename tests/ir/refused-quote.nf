# Quotes end on their line.
func @"f() {   # error: the quoted name does not end on its line
    return
}
