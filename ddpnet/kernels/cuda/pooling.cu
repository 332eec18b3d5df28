// Pooling over planes (H, W). One thread makes one output, so that the order of additions is fixed.

extern "C" __global__ void max_pool2d_forward(const real *x, real *y, int *places, int count, int height, int width,
                                              int rows, int cols, int kh, int kw, int sh, int sw, int ph, int pw,
                                              int dh, int dw) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int col = i % cols, row = i / cols % rows;
        const real *plane = x + (long long)(i / (cols * rows)) * height * width;
        real best = 0;
        int place = -1;
        for (int r = row * sh - ph, a = 0; a < kh; r += dh, ++a)
            for (int c = col * sw - pw, b = 0; b < kw; c += dw, ++b) {
                if (r < 0 || r >= height || c < 0 || c >= width) continue;
                const real value = plane[r * width + c];
                // The first of equals; the last NaN before all, as in PyTorch.
                if (place < 0 || value > best || value != value) {
                    best = value;
                    place = r * width + c;
                }
            }
        y[i] = best;
        places[i] = place;
    }
}

// One thread a plane: windows may overlap, and their gradients are added in their order.
extern "C" __global__ void max_pool2d_backward(const real *g, const int *places, real *dx, int planes, int outputs,
                                               int inputs) {
    for (int plane = blockIdx.x * blockDim.x + threadIdx.x; plane < planes; plane += gridDim.x * blockDim.x) {
        const long long from = (long long)plane * outputs, to = (long long)plane * inputs;
        for (int i = 0; i < outputs; ++i)
            if (places[from + i] >= 0) dx[to + places[from + i]] += g[from + i];
    }
}

// What the sum over the window that starts at (top, left) is divided by.
__device__ real divisor(int top, int left, int height, int width, int kh, int kw, int ph, int pw, int whole,
                        int override_) {
    if (override_) return override_;
    const int bottom = min(top + kh, height + ph), right = min(left + kw, width + pw);
    if (whole) return (bottom - top) * (right - left);
    return (min(bottom, height) - max(top, 0)) * (min(right, width) - max(left, 0));
}

extern "C" __global__ void avg_pool2d_forward(const real *x, real *y, int count, int height, int width, int rows,
                                              int cols, int kh, int kw, int sh, int sw, int ph, int pw, int whole,
                                              int override_) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int top = i / cols % rows * sh - ph, left = i % cols * sw - pw;
        const real *plane = x + (long long)(i / (cols * rows)) * height * width;
        real total = 0;
        for (int r = max(top, 0); r < min(top + kh, height); ++r)
            for (int c = max(left, 0); c < min(left + kw, width); ++c) total += plane[r * width + c];
        y[i] = total / divisor(top, left, height, width, kh, kw, ph, pw, whole, override_);
    }
}

// One thread an input: it adds up the windows that it lies in.
extern "C" __global__ void avg_pool2d_backward(const real *g, real *dx, int count, int height, int width, int rows,
                                               int cols, int kh, int kw, int sh, int sw, int ph, int pw, int whole,
                                               int override_) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int r = i / width % height + ph, c = i % width + pw;
        const real *plane = g + (long long)(i / (width * height)) * rows * cols;
        real total = 0;
        for (int row = r < kh ? 0 : (r - kh) / sh + 1; row < min(r / sh + 1, rows); ++row)
            for (int col = c < kw ? 0 : (c - kw) / sw + 1; col < min(c / sw + 1, cols); ++col)
                total += plane[row * cols + col] /
                         divisor(row * sh - ph, col * sw - pw, height, width, kh, kw, ph, pw, whole, override_);
        dx[i] = total;
    }
}
