# Stages are known.
module stage=solved   # error: unknown stage 'solved'
func @f() {
    return
}
