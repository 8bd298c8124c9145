# More outputs than inputs: to scale them would be more work. What something else reads stays, too.
module stage=derived
func @run(x: f32[1,2], s: f32[1]) {
    h: f32[1,2] = mul x, s
    y: f32[1,3] = linear h, [[1, 2, 3], [4, 5, 6]]
    z: f32[1,1] = linear h, [[1], [2]]
    return y, z
}
----
module stage=derived
func @run(x: f32[1,2], s: f32[1]) {
    h: f32[1,2] = mul x, s
    y: f32[1,3] = linear h, [[1, 2, 3], [4, 5, 6]]
    z: f32[1,1] = linear h, [[1], [2]]
    return y, z
}
