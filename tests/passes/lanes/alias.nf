# Lane maps of lane maps are one lane map; a swap and its inverse are none.
module stage=normal
func @main(x: f32[4]) {
    a: f32[4] = move x [3..0]
    b: f32[4] = move a [3..0]
    y: f32[4] = exp b
    z: f32[2] = move a [1, 2]
    return y, z
}
----
module stage=normal
func @main(x: f32[4]) {
    %1: f32[4] = exp x
    %2: f32[2] = move x [2, 1]
    return y=%1, z=%2
}
