# Ports are @main's inputs and outputs.
# error: 2 input ports, but @main has 1
port in "x" f32[2] batch 0
port in "y" f32[2] batch 0
port out "x" f32[2] batch 0
func @main(x: f32[1,2]) {
    return x
}
