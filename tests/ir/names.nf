# Names: quoted where they are no bare word, ~2 from the second node of a name on, %N for nodes without a name.
func @"main graph"(obs.0: f32[2], "x y": f32[2]) {
    %7: f32[2] = neg obs.0
    /net/0/Gemm_output_0: f32[2] = exp %7
    h: f32[2] = add %7, /net/0/Gemm_output_0
    h~5: f32[2] = sub h, "x y"
    "f32": f32[2] = mul h, h~5
    "return": f32[2] = neg "f32"
    "quote \" back \\ tab \x09 é": f32[2] = neg "return"
    "inf": f32[2] = max "quote \" back \\ tab \x09 é", inf
    return h=h~5, h2=h, "inf", "a b"=%7
}
func @g() {
    return
}
----
func @"main graph"(obs.0: f32[2], "x y": f32[2]) {
    %2: f32[2] = neg obs.0
    /net/0/Gemm_output_0: f32[2] = exp %2
    h: f32[2] = add %2, /net/0/Gemm_output_0
    h~2: f32[2] = sub h, "x y"
    "f32": f32[2] = mul h, h~2
    "return": f32[2] = neg "f32"
    "quote \" back \\ tab \x09 é": f32[2] = neg "return"
    "inf": f32[2] = max "quote \" back \\ tab \x09 é", inf
    return h~2, h2=h, "inf", "a b"=%2
}

func @g() {
    return
}
