# Haar: p + q beside p - q become a triangle: the solver finds q from the difference, whose sum is known, then p.
func @main(z: f32[1,4]) {
    p: f32[1,2] = move z [0, 2]
    q: f32[1,2] = move z [1, 3]
    a: f32[1,2] = add q, p
    d: f32[1,2] = sub p, q
    h: f32[1,2] = mul a, 0.7071067811865476
    l: f32[1,2] = mul d, 0.7071067811865476
    x: f32[1,4] = move l, h
    return x
}
----
module stage=normal
func @main(z: f32[1,4]) {
    %1: f32[1,2] = move z [0, 2]
    %2: f32[1,2] = move z [1, 3]
    a: f32[1,2] = add %2, %1
    %5: f32[1,2] = mul %2, 2
    %6: f32[1,2] = sub a, %5
    %7: f32[] = constant 0.70710677
    h: f32[1,2] = mul a, %7
    l: f32[1,2] = mul %6, %7
    %10: f32[1,4] = move l, h
    return x=%10
}
