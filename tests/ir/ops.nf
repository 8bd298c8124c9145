# One of every kind of op, and the module's header.
module stage=derived
property "nfcc.event" "x"
property "" "two words"
port in "obs" f32[4]
port in "x" f32[2] batch 0
port in "steps" i64[] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0

func @run(obs: f32[1,4], x: f32[1,2], steps: i64[1,1]) {
    w: f32[4,2] = constant [[1, 0], [0, 1], [1, 1], [2, -1]]
    h: f32[1,2] = linear obs, w, [0.5, -0.5], x
    h2: f32[1,2] = linear obs, w, _, x
    a: f32[1,2] = leaky_relu h {alpha=0.01}
    b: f32[1,2] = leaky_relu h2 {alpha=0}
    c: f32[1,2] = elu b {alpha=1}
    s: f32[2,2] = move a, c
    t: f32[2,2] = move s [0, 2, 1, 3]
    m: f32[2,2] = matmul s, t
    r: f32[2] = reduce_sum m
    q: f32[] = reduce_max r
    big: bool[1,2] = le a, q
    no: bool[1,2] = not big
    z: f32[1,2] = select no, a, b
    e: f32[1,1] = take [[0.5, 0.25, 0.125]], steps
    p: f32[1,2] = pow z, e
    return z=p, log_det=q
}
----
module stage=derived
property "nfcc.event" "x"
property "" "two words"
port in "obs" f32[4]
port in "x" f32[2] batch 0
port in "steps" i64[] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(obs: f32[1,4], x: f32[1,2], steps: i64[1,1]) {
    w: f32[4,2] = constant [[1, 0], [0, 1], [1, 1], [2, -1]]
    h: f32[1,2] = linear obs, w, [0.5, -0.5], x
    h2: f32[1,2] = linear obs, w, _, x
    a: f32[1,2] = leaky_relu h {alpha=0.01}
    b: f32[1,2] = leaky_relu h2 {alpha=0}
    c: f32[1,2] = elu b {alpha=1}
    s: f32[2,2] = move a, c
    t: f32[2,2] = move s [0, 2, 1, 3]
    m: f32[2,2] = matmul s, t
    r: f32[2] = reduce_sum m
    q: f32[] = reduce_max r
    big: bool[1,2] = le a, q
    no: bool[1,2] = not big
    z: f32[1,2] = select no, a, b
    e: f32[1,1] = take [[0.5, 0.25, 0.125]], steps
    p: f32[1,2] = pow z, e
    return z=p, log_det=q
}
