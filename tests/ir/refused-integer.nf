# A number that i64 cannot hold.
func @f() {
    a: i64[] = constant 9223372036854775808   # error: is not an integer of 64 bits
    return a
}
