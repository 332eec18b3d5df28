// Between images (N, C, H, W) and the matrices (N, C * KH * KW, rows * cols) that convolution multiplies.

extern "C" __global__ void unfold(const real *x, real *unfolded, int count, int channels, int height, int width,
                                  int rows, int cols, int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int col = i % cols, row = i / cols % rows, weight = i / (cols * rows);
        const int b = weight % kw, a = weight / kw % kh, plane = weight / (kw * kh);
        const int r = row * sh - ph + a * dh, c = col * sw - pw + b * dw;
        const bool inside = r >= 0 && r < height && c >= 0 && c < width;
        unfolded[i] = inside ? x[((long long)plane * height + r) * width + c] : real(0);
    }
}

// One thread an input: it adds up the columns that it was copied to, always in the same order.
extern "C" __global__ void fold(const real *unfolded, real *x, int count, int channels, int height, int width,
                                int rows, int cols, int kh, int kw, int sh, int sw, int ph, int pw, int dh, int dw) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int c = i % width, r = i / width % height, plane = i / (width * height);
        real total = 0;
        for (int a = 0; a < kh; ++a)
            for (int b = 0; b < kw; ++b) {
                const int down = r + ph - a * dh, right = c + pw - b * dw;
                if (down < 0 || right < 0 || down % sh || right % sw) continue;
                const int row = down / sh, col = right / sw;
                if (row >= rows || col >= cols) continue;
                total += unfolded[(((long long)plane * kh + a) * kw + b) * rows * cols + row * cols + col];
            }
        x[i] = total;
    }
}
