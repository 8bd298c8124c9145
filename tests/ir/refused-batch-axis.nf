# The batch stands before a port's dims, between or behind them: axis 0 to its rank.
port in "x" f32[2] batch 2   # error: batch axis 2 is not in 0..1
port out "x" f32[2] batch 0
func @main(x: f32[2]) {
    return x
}
