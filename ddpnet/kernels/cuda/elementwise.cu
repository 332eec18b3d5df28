// g where y > 0, else 0.
extern "C" __global__ void relu_backward(const real *g, const real *y, real *dx, int count) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        dx[i] = y[i] > 0 ? g[i] : real(0);
}
