# A matrix of the context, lower triangular: its lanes are found one after the other.
module stage=normal
port in "c" f32[3] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(c: f32[1,3], x: f32[1,2]) {
    d: f32[1,2] = move c [0, 1]
    e: f32[1,2] = exp d
    l: f32[1,2,2] = move e, c, f32 [0] [0, 5, 4, 1]
    column: f32[1,2,1] = move x
    y: f32[1,2,1] = matmul l, column
    z: f32[1,2] = move y
    log_det: f32[1] = reduce_sum d
    return z, log_det
}
----
module stage=derived
port in "c" f32[3] batch 0
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(c: f32[1,3], x: f32[1,2]) {
    %2: f32[1,2] = move c [0, 1]
    e: f32[1,2] = exp %2
    %5: f32[1,2,2] = move e, [0], c [0, 2, 5, 1]
    %6: f32[1,2,1] = move x
    y: f32[1,2,1] = matmul %5, %6
    %8: f32[1,2] = move y
    log_det: f32[1] = reduce_sum %2
    return z=%8, log_det
}

func @to_latent(c: f32[1,3], x: f32[2]) {
    %2: f32[2] = move c [0, 1]
    %3: f32[2] = exp %2
    %5: f32[1,2,2] = move %3, [0], c [0, 2, 5, 1]
    %6: f32[1,2,1] = move x
    y: f32[1,2,1] = matmul %5, %6
    %8: f32[2] = move y
    %9: f32[1] = move c [0]
    %10: f32[1] = move c [1]
    %11: f32[1] = add %9, %10
    %12: f32[2] = mul %8, %8
    %13: f32[] = reduce_sum %12
    %14: f32[1] = move %13
    %16: f32[1] = mul %14, -0.5
    %18: f32[1] = add %16, f64 -1.8378770664093453
    %19: f32[1] = add %11, %18
    %20: f32[] = constant -inf
    %21: bool[1] = eq %19, %19
    %22: f32[1] = select %21, %19, %20
    return z=%8, log_det=%11, log_prob=%22
}

func @to_event(c: f32[1,3], z: f32[2]) {
    %2: f32[2] = move c [0, 1]
    %3: f32[2] = exp %2
    %4: f32[] = constant 0
    %5: f32[1,1] = move %3 [0]
    %7: f32[1,1] = matmul %5, [[0]]
    %8: f32[1] = move %7
    %9: f32[1] = move z [0]
    %10: f32[1] = sub %9, %8
    %11: f32[1,1,1] = move %3 [0]
    %12: f32[1,1,1] = move %10
    %13: f32[1,1,1] = div %12, %11
    %14: f32[1,2] = move c, %3 [2, 4]
    %15: f32[2,1] = move %13, %4
    %16: f32[1,1] = matmul %14, %15
    %17: f32[1] = move %16
    %18: f32[1] = move z [1]
    %19: f32[1] = sub %18, %17
    %20: f32[1,1,1] = move %3 [1]
    %21: f32[1,1,1] = move %19
    %22: f32[1,1,1] = div %21, %20
    %23: f32[2] = move %13, %22
    %24: f32[1] = move c [0]
    %25: f32[1] = move c [1]
    %26: f32[1] = add %24, %25
    %27: f32[1] = neg %26
    %28: f32[2] = mul z, z
    %29: f32[] = reduce_sum %28
    %30: f32[1] = move %29
    %32: f32[1] = mul %30, -0.5
    %34: f32[1] = add %32, f64 -1.8378770664093453
    %35: f32[1] = add %26, %34
    %36: f32[] = constant -inf
    %37: bool[1] = eq %35, %35
    %38: f32[1] = select %37, %35, %36
    return x=%23, log_det=%27, log_prob=%38
}

func @score(c: f32[1,3], x: f32[2]) {
    %2: f32[2] = move c [0, 1]
    %3: f32[2] = exp %2
    %4: f32[1] = constant [0]
    %5: f32[1,2,2] = move %3, %4, c [0, 2, 5, 1]
    %6: f32[1,2,1] = move x
    y: f32[1,2,1] = matmul %5, %6
    %8: f32[2] = move y
    %10: f32[2] = mul [-0.5], %8
    %11: f32[2] = add %10, %10
    %12: f32[1,2,1] = move %11
    %13: f32[1,2,2] = move %3, c, %4 [0, 4, 5, 1]
    %14: f32[1,2,1] = matmul %13, %12
    %15: f32[2] = move %14
    return score=%15
}
