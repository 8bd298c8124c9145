# Windows at a picture's border keep their constants where all together are little more without them (%2: 36 instead of 34
# lanes): then they are one reduction, whose lanes run on evenly. Where they are much more (%4: 12 instead of 7), rows go
# by their lengths.
module stage=normal
func @main(x: f32[12], y: f32[3]) {
    %1: f32[] = constant -inf
    %2: f32[12,3] = move %1, x [0..2, 1..3, 2..4, 3..5, 4..6, 5..7, 6..8, 7..9, 8..10, 9..11, 10..12, 11, 12, 0]
    %3: f32[12] = reduce_max %2
    %4: f32[3,4] = move %1, y [0, 1, 2, 0, 1, 2, 3, 0, 2, 3, 0, 0]
    %5: f32[3] = reduce_max %4
    return y=%3, w=%5
}
----
module stage=normal
func @main(x: f32[12], y: f32[3]) {
    %3: f32[12,3] = move -inf, x [0..2, 1..3, 2..4, 3..5, 4..6, 5..7, 6..8, 7..9, 8..10, 9..11, 10..12, 11, 12, 0]
    %4: f32[12] = reduce_max %3
    %5: f32[2,2] = move y [0, 1, 1, 2]
    %6: f32[2] = reduce_max %5
    %7: f32[1,3] = move y
    %8: f32[1] = reduce_max %7
    %9: f32[3] = move %6, %8 [0, 2, 1]
    return y=%4, w=%9
}
