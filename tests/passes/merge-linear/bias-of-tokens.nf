# What is the same for every token, as the bias of a convolution, goes into the product of all of them, and a norm's
# scale as well; what differs stays.
module stage=derived
func @run(x: f32[2,2]) {
    a: f32[2,2] = linear x, [[1, 2], [3, 4]]
    b: f32[2,2] = constant [[5, 6], [5, 6]]
    c: f32[2,2] = add a, b
    d: f32[2,2] = mul c, [2]
    e: f32[2,2] = leaky_relu d {alpha=0}
    f: f32[2,2] = linear e, [[1, 2], [3, 4]]
    h: f32[2,2] = constant [[5, 6], [5, 7]]
    y: f32[2,2] = add f, h
    return y
}
----
module stage=derived
func @run(x: f32[2,2]) {
    %1: f32[2,2] = constant [[1, 2], [3, 4]]
    %4: f32[2,2] = linear x, [[2, 4], [6, 8]], [10, 12]
    e: f32[2,2] = leaky_relu %4 {alpha=0}
    f: f32[2,2] = linear e, %1
    y: f32[2,2] = add f, [[5, 6], [5, 7]]
    return y
}
