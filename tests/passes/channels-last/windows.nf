# The turn behind a convolution goes through a bias and a sum with another one's, and into the windows of the next: three
# places of two channels are a run. What is read as a whole (%y) is turned at last.
module stage=normal
func @main(x: f32[6,1], w: f32[6,3]) {
    a: f32[6,2] = linear x, [[1, 2]]
    b: f32[6,2] = linear w, [[1, 2], [3, 4], [5, 6]]
    p: f32[2,6] = move a [0..10:2, 1..11:2]
    q: f32[2,6] = move b [0..10:2, 1..11:2]
    c: f32[2,6] = add p, [[1, 1, 1, 1, 1, 1], [2, 2, 2, 2, 2, 2]]
    d: f32[2,6] = add c, q
    e: f32[2,6] = leaky_relu d {alpha=0}
    f: f32[4,6] = move e [0, 6, 1, 7, 2, 8, 1, 7, 2, 8, 3, 9, 2, 8, 3, 9, 4, 10, 3, 9, 4, 10, 5, 11]
    g: f32[4,1] = linear f, [[1], [2], [3], [4], [5], [6]]
    y: f32[12] = exp e
    return g=g, y=y
}
----
module stage=normal
func @main(x: f32[6,1], w: f32[6,3]) {
    a: f32[6,2] = linear x, [[1, 2]]
    b: f32[6,2] = linear w, [[1, 2], [3, 4], [5, 6]]
    c: f32[6,2] = add a, [[1, 2], [1, 2], [1, 2], [1, 2], [1, 2], [1, 2]]
    d: f32[6,2] = add c, b
    e: f32[6,2] = leaky_relu d {alpha=0}
    %10: f32[4,6] = move e [0..5, 2..7, 4..9, 6..11]
    g: f32[4,1] = linear %10, [[1], [2], [3], [4], [5], [6]]
    y: f32[6,2] = exp e
    %14: f32[12] = move y [0..10:2, 1..11:2]
    return g, y=%14
}
