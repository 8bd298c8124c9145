# z = 2 x + 1 on two lanes: the inverse divides, log_det is 2 log 2.
module stage=normal
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
func @main(x: f32[1,2]) {
    s: f32[1,2] = mul x, 2
    z: f32[1,2] = add s, 1
    return z
}
----
module stage=derived
port in "x" f32[2] batch 0
port out "z" f32[2] batch 0
func @run(x: f32[1,2]) {
    s: f32[1,2] = mul x, 2
    z: f32[1,2] = add s, 1
    return z
}

func @to_latent(x: f32[2]) {
    %2: f32[2] = mul x, [2]
    %4: f32[2] = add %2, [1]
    %5: f64[1] = constant [1.3862943611198906]
    %6: f32[2] = mul %4, %4
    %7: f32[] = reduce_sum %6
    %8: f32[1] = move %7
    %10: f32[1] = mul %8, -0.5
    %12: f32[1] = add %10, f64 -1.8378770664093453
    %13: f32[1] = add %5, %12
    %14: f32[] = constant -inf
    %15: bool[1] = eq %13, %13
    %16: f32[1] = select %15, %13, %14
    return z=%4, log_det=%5, log_prob=%16
}

func @to_event(z: f32[2]) {
    %2: f32[2] = sub z, [1]
    %4: f32[2] = div %2, [2]
    %5: f64[1] = constant [1.3862943611198906]
    %6: f64[1] = constant [-1.3862943611198906]
    %7: f32[2] = mul z, z
    %8: f32[] = reduce_sum %7
    %9: f32[1] = move %8
    %11: f32[1] = mul %9, -0.5
    %13: f32[1] = add %11, f64 -1.8378770664093453
    %14: f32[1] = add %5, %13
    %15: f32[] = constant -inf
    %16: bool[1] = eq %14, %14
    %17: f32[1] = select %16, %14, %15
    return x=%4, log_det=%6, log_prob=%17
}

func @score(x: f32[2]) {
    %1: f32[1] = constant [2]
    %2: f32[2] = mul x, %1
    %4: f32[2] = add %2, [1]
    %6: f32[2] = mul [-0.5], %4
    %7: f32[2] = add %6, %6
    %8: f32[2] = mul %7, %1
    return score=%8
}
