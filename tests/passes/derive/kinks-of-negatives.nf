# relu(z) - 0.25 relu(-z): the second kink is that of the first, turned round.
module stage=normal
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @main(z: f32[1,2]) {
    p: f32[1,2] = leaky_relu z {alpha=0}
    m: f32[1,2] = neg z
    n: f32[1,2] = leaky_relu m {alpha=0}
    s: f32[1,2] = mul n, 0.25
    x: f32[1,2] = sub p, s
    c: bool[1,2] = lt 0, z
    l: f32[1,2] = select c, 0, -1.3862943611198906
    log_det: f32[1] = reduce_sum l
    return x, log_det
}
----
module stage=derived
port in "z" f32[2] batch 0
port out "x" f32[2] batch 0
port out "log_det" f32[] batch 0
func @run(z: f32[1,2]) {
    p: f32[1,2] = leaky_relu z {alpha=0}
    m: f32[1,2] = neg z
    n: f32[1,2] = leaky_relu m {alpha=0}
    s: f32[1,2] = mul n, 0.25
    x: f32[1,2] = sub p, s
    %7: f32[] = constant 0
    c: bool[1,2] = lt %7, z
    l: f32[1,2] = select c, %7, -1.3862944
    log_det: f32[1] = reduce_sum l
    return x, log_det
}

func @to_latent(x: f32[2]) {
    %1: f32[] = constant 0
    %2: f32[1] = constant [0]
    %3: f32[] = constant 0.25
    %4: bool[2] = le %2, x
    %5: f32[2] = sub %1, x
    %6: f32[2] = div %5, %3
    %7: f32[] = constant -1
    %8: f32[2] = neg %6
    %9: f32[2] = div %8, %7
    %10: f32[2] = neg %9
    %11: f32[2] = neg x
    %12: f32[2] = div %11, %7
    %13: f32[2] = select %4, %12, %10
    %14: f64[] = constant -1.3862943611198906
    %15: bool[2] = le %1, %13
    %16: f32[2] = select %15, %1, %14
    %17: f32[] = reduce_sum %16
    %18: f32[1] = move %17
    %19: f32[1] = neg %18
    %20: f32[2] = mul %13, %13
    %21: f32[] = reduce_sum %20
    %22: f32[1] = move %21
    %24: f32[1] = mul %22, -0.5
    %26: f32[1] = add %24, f64 -1.8378770664093453
    %27: f32[1] = add %19, %26
    %28: f32[] = constant -inf
    %29: bool[1] = eq %27, %27
    %30: f32[1] = select %29, %27, %28
    return z=%13, log_det=%19, log_prob=%30
}

func @to_event(z: f32[2]) {
    %1: f32[2] = leaky_relu z {alpha=0}
    %2: f32[2] = neg z
    %3: f32[2] = leaky_relu %2 {alpha=0}
    %5: f32[2] = mul %3, [0.25]
    %6: f32[2] = sub %1, %5
    %7: f32[] = constant 0
    %8: f64[] = constant -1.3862943611198906
    %9: bool[2] = le %7, z
    %10: f32[2] = select %9, %7, %8
    %11: f32[] = reduce_sum %10
    %12: f32[1] = move %11
    %13: f32[1] = neg %12
    %14: f32[2] = mul z, z
    %15: f32[] = reduce_sum %14
    %16: f32[1] = move %15
    %18: f32[1] = mul %16, -0.5
    %20: f32[1] = add %18, f64 -1.8378770664093453
    %21: f32[1] = add %13, %20
    %22: f32[] = constant -inf
    %23: bool[1] = eq %21, %21
    %24: f32[1] = select %23, %21, %22
    return x=%6, log_det=%12, log_prob=%24
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [0]
    %2: bool[2] = le %1, x
    %3: f32[] = constant 0
    %4: f32[2] = sub %1, x
    %5: f32[1] = constant [0.25]
    %6: f32[2] = div %4, %5
    %7: f32[2] = neg %6
    %8: f32[1] = constant [-1]
    %9: f32[2] = div %7, %8
    %10: f32[2] = neg %9
    %11: f32[2] = neg x
    %12: f32[2] = div %11, %8
    %13: f32[2] = select %2, %12, %10
    %15: f32[2] = mul [-0.5], %13
    %16: f32[2] = add %15, %15
    %17: f32[2] = select %2, %16, %3
    %18: f32[2] = select %2, %3, %16
    %19: f32[2] = div %17, %8
    %20: bool[2] = eq %17, %3
    %21: f32[2] = select %20, %3, %19
    %22: f32[2] = neg %21
    %23: f32[2] = neg %18
    %24: f32[2] = div %23, %8
    %25: bool[2] = eq %23, %3
    %26: f32[2] = select %25, %3, %24
    %27: f32[2] = neg %26
    %28: f32[2] = div %27, %5
    %29: bool[2] = eq %27, %3
    %30: f32[2] = select %29, %3, %28
    %31: f32[2] = neg %30
    %32: f32[2] = add %22, %31
    return score=%32
}
