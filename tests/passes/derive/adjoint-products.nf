# A coupling whose net is adjoint products: they are read as products are.
module stage=normal
port in "x" f32[4] batch 0
port out "z" f32[4] batch 0
port out "log_det" f32[] batch 0
func @main(x: f32[1,4]) {
    a: f32[1,2] = move x [0, 1]
    b: f32[1,2] = move x [2, 3]
    h: f32[1,3] = linear_t a, [[1, 0.5], [-0.25, 2], [0.75, -1]]
    t: f32[1,3] = tanh h
    s: f32[1,2] = linear_t t, [[0.5, 1, -1], [0.25, -0.5, 1]]
    e: f32[1,2] = exp s
    y: f32[1,2] = mul b, e
    z: f32[1,4] = move a, y [0, 1, 2, 3]
    log_det: f32[1] = reduce_sum s
    return z, log_det
}
----
module stage=derived
port in "x" f32[4] batch 0
port out "z" f32[4] batch 0
port out "log_det" f32[] batch 0
func @run(x: f32[1,4]) {
    %1: f32[1,2] = move x [0, 1]
    %2: f32[1,2] = move x [2, 3]
    h: f32[1,3] = linear_t %1, [[1, 0.5], [-0.25, 2], [0.75, -1]]
    t: f32[1,3] = tanh h
    s: f32[1,2] = linear_t t, [[0.5, 1, -1], [0.25, -0.5, 1]]
    e: f32[1,2] = exp s
    y: f32[1,2] = mul %2, e
    %10: f32[1,4] = move x, y [0, 1, 4, 5]
    log_det: f32[1] = reduce_sum s
    return z=%10, log_det
}

func @to_latent(x: f32[4]) {
    %1: f32[1,2] = move x [0, 1]
    %3: f32[1,3] = linear_t %1, [[1, 0.5], [-0.25, 2], [0.75, -1]]
    %4: f32[3] = move %3
    %5: f32[3] = tanh %4
    %6: f32[1,3] = move %5
    %8: f32[1,2] = linear_t %6, [[0.5, 1, -1], [0.25, -0.5, 1]]
    %9: f32[2] = move %8
    %10: f32[2] = exp %9
    %11: f32[2] = move x [2, 3]
    %12: f32[2] = mul %11, %10
    %13: f32[4] = move x, %12 [0, 1, 4, 5]
    %14: f32[] = reduce_sum %9
    %15: f32[1] = move %14
    %16: f32[4] = mul %13, %13
    %17: f32[] = reduce_sum %16
    %18: f32[1] = move %17
    %20: f32[1] = mul %18, -0.5
    %22: f32[1] = add %20, f64 -3.6757541328186907
    %23: f32[1] = add %15, %22
    %24: f32[] = constant -inf
    %25: bool[1] = eq %23, %23
    %26: f32[1] = select %25, %23, %24
    return z=%13, log_det=%15, log_prob=%26
}

func @to_event(z: f32[4]) {
    %1: f32[1,2] = move z [0, 1]
    %3: f32[1,3] = linear_t %1, [[1, 0.5], [-0.25, 2], [0.75, -1]]
    %4: f32[3] = move %3
    %5: f32[3] = tanh %4
    %6: f32[1,3] = move %5
    %8: f32[1,2] = linear_t %6, [[0.5, 1, -1], [0.25, -0.5, 1]]
    %9: f32[2] = move %8
    %10: f32[2] = move z [2, 3]
    %11: f32[2] = neg %9
    %12: f32[2] = exp %11
    %13: f32[2] = mul %10, %12
    %14: f32[4] = move z, %13 [0, 1, 4, 5]
    %15: f32[] = reduce_sum %9
    %16: f32[1] = move %15
    %17: f32[1] = neg %16
    %18: f32[4] = mul z, z
    %19: f32[] = reduce_sum %18
    %20: f32[1] = move %19
    %22: f32[1] = mul %20, -0.5
    %24: f32[1] = add %22, f64 -3.6757541328186907
    %25: f32[1] = add %16, %24
    %26: f32[] = constant -inf
    %27: bool[1] = eq %25, %25
    %28: f32[1] = select %27, %25, %26
    return x=%14, log_det=%17, log_prob=%28
}

func @score(x: f32[4]) {
    %1: f32[1,2] = move x [0, 1]
    %2: f32[3,2] = constant [[1, 0.5], [-0.25, 2], [0.75, -1]]
    %3: f32[1,3] = linear_t %1, %2
    %4: f32[3] = move %3
    %5: f32[3] = tanh %4
    %6: f32[1,3] = move %5
    %7: f32[2,3] = constant [[0.5, 1, -1], [0.25, -0.5, 1]]
    %8: f32[1,2] = linear_t %6, %7
    %9: f32[2] = move %8
    %10: f32[2] = exp %9
    %11: f32[2] = move x [2, 3]
    %12: f32[2] = mul %11, %10
    %13: f32[4] = move x, %12 [0, 1, 4, 5]
    %14: f32[1] = constant [-0.5]
    %15: f32[] = constant 1
    %16: f32[1] = constant [1]
    %17: f32[4] = mul %14, %13
    %18: f32[2] = move %17 [2, 3]
    %19: f32[2] = add %18, %18
    %20: f32[2] = mul %19, %10
    %21: f32[2] = mul %19, %11
    %22: f32[2] = mul %21, %10
    %23: f32[2] = add %16, %22
    %24: f32[1,2] = move %23
    %25: f32[1,3] = linear %24, %7
    %26: f32[3] = move %25
    %27: f32[3] = add %5, %15
    %28: f32[3] = sub %15, %5
    %29: f32[3] = mul %28, %27
    %30: f32[3] = mul %26, %29
    %31: f32[1,3] = move %30
    %32: f32[1,2] = linear %31, %2
    %33: f32[2] = move %17 [0, 1]
    %34: f32[2] = add %33, %33
    %35: f32[2] = move %32
    %36: f32[2] = add %34, %35
    %37: f32[4] = move %36, %20
    return score=%37
}
