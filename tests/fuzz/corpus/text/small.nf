func @f(x: f32[2]) {
    a: f32[2] = mul x, f64 [2, nan(0x7ff8000000000001)]
    return a, %=a
}
