# A port has the lanes of its input.
# error: input port 'x' is f32[3], but @main has f32[1,2] there
port in "x" f32[3] batch 0
port out "x" f32[2] batch 0
func @main(x: f32[1,2]) {
    return x
}
