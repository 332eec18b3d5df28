// 0 where y <= 0, else g, as where y is not a number.
extern "C" __global__ void relu_backward(const real *g, const real *y, real *dx, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        dx[i] = y[i] <= 0 ? real(0) : g[i];
}
