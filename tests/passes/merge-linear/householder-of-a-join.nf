# x - c v (v . x) of a coupling's join, which stands in the graph in two shapes: still one linear map.
module stage=derived
func @run(x: f32[1,3]) {
    e: f32[1] = move x [1]
    y: f32[1] = tanh e
    p: f32[1,3] = move x, y [0, 3, 2]
    q: f32[3] = move x, y [0, 3, 2]
    d: f32[1,1] = linear p, [[1], [2], [2]]
    s: f32[1,3] = linear d, [[0.25, 0.5, 0.5]]
    t: f32[3] = move s
    a: f32[3] = sub q, t
    return a
}
----
module stage=derived
func @run(x: f32[1,3]) {
    %1: f32[1] = move x [1]
    y: f32[1] = tanh %1
    %3: f32[1,3] = move x, y [0, 3, 2]
    %5: f32[1,3] = linear %3, [[0.75, -0.5, -0.5], [-0.5, 0, -1], [-0.5, -1, 0]]
    %6: f32[3] = move %5
    return a=%6
}
