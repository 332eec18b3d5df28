// Sums over each channel of (N, C, inner): PARTS threads a channel add every PARTS-th element, in double; a second
// kernel adds the parts. No thread waits for another, and the order of additions is fixed.

#define PARTS 256

__device__ long long element(int channel, long long i, int channels, int inner) {
    return (i / inner * channels + channel) * inner + i % inner;
}

// parts (C, PARTS): sums of x - shift, and of their squares if `squares`.
extern "C" __global__ void partial_sums(const real *x, const real *shift, double *parts, int squares, int samples,
                                        int channels, int inner) {
    const long long count = (long long)samples * inner;
    for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < channels * PARTS; t += gridDim.x * blockDim.x) {
        const int channel = t / PARTS;
        double total = 0;
        for (long long i = t % PARTS; i < count; i += PARTS) {
            const double value = double(x[element(channel, i, channels, inner)]) - double(shift[channel]);
            total += squares ? value * value : value;
        }
        parts[t] = total;
    }
}

// parts (2, C, PARTS): sums of g, and of g times the normalised x.
extern "C" __global__ void partial_gradients(const real *g, const real *x, const real *mean, const real *invstd,
                                             double *parts, int samples, int channels, int inner) {
    const long long count = (long long)samples * inner;
    for (int t = blockIdx.x * blockDim.x + threadIdx.x; t < channels * PARTS; t += gridDim.x * blockDim.x) {
        const int channel = t / PARTS;
        double total = 0, product = 0;
        for (long long i = t % PARTS; i < count; i += PARTS) {
            const long long at = element(channel, i, channels, inner);
            total += g[at];
            product += double(g[at]) * ((x[at] - mean[channel]) * invstd[channel]);
        }
        parts[t] = total;
        parts[channels * PARTS + t] = product;
    }
}

// sums (channels): the parts of each, divided by `divisor`.
extern "C" __global__ void finish_sums(const double *parts, real *sums, real divisor, int channels) {
    for (int channel = blockIdx.x * blockDim.x + threadIdx.x; channel < channels; channel += gridDim.x * blockDim.x) {
        double total = 0;
        for (int part = 0; part < PARTS; ++part) total += parts[channel * PARTS + part];
        sums[channel] = real(total / divisor);
    }
}

extern "C" __global__ void scale_and_shift(const real *x, const real *scale, const real *shift, real *y, int count,
                                           int channels, int inner) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int channel = i / inner % channels;
        y[i] = scale[channel] * x[i] + shift[channel];
    }
}

// dx = scale * (g - offset - normalised x * slope).
extern "C" __global__ void batch_norm_backward(const real *g, const real *x, const real *mean, const real *invstd,
                                               const real *scale, const real *offset, const real *slope, real *dx,
                                               int count, int channels, int inner) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const int channel = i / inner % channels;
        const real standard = (x[i] - mean[channel]) * invstd[channel];
        dx[i] = scale[channel] * (g[i] - offset[channel] - standard * slope[channel]);
    }
}
