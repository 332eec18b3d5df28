// Steps of optimizers: one parameter, in place. An array that is not used is a null pointer.

#define EACH(i) for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)

extern "C" __global__ void sgd(real *p, const real *g, real *buf, int count, real lr, real momentum, real keep,
                               real take, real weight_decay, int nesterov, real sign) {
    EACH(i) {
        real d = sign * g[i];
        if (weight_decay != 0) d += weight_decay * p[i]; // 0 times inf is NaN
        if (buf) {
            buf[i] = keep * buf[i] + take * d;
            d = nesterov ? d + momentum * buf[i] : buf[i];
        }
        p[i] -= lr * d;
    }
}

extern "C" __global__ void adam(real *p, const real *g, real *m, real *v, real *vmax, int count, real rate, real root,
                                real b1, real a1, real b2, real a2, real eps, real shrink, real join, real sign) {
    EACH(i) {
        const real value = p[i] * shrink, d = sign * g[i] + join * value;
        m[i] = b1 * m[i] + a1 * d;
        v[i] = b2 * v[i] + a2 * d * d;
        real spread = v[i];
        // A NaN on either side stays.
        if (vmax) spread = vmax[i] = vmax[i] > spread || vmax[i] != vmax[i] ? vmax[i] : spread;
        p[i] = value - rate * m[i] / (sqrt(spread) * root + eps);
    }
}

extern "C" __global__ void rmsprop(real *p, const real *g, real *v, real *buf, real *avg, int count, real lr,
                                   real keep, real take, real eps, real decay, real momentum, real sign) {
    EACH(i) {
        const real d = sign * g[i] + decay * p[i];
        v[i] = keep * v[i] + take * d * d;
        real spread = v[i];
        if (avg) {
            avg[i] = keep * avg[i] + take * d;
            spread -= avg[i] * avg[i];
        }
        real change = d / (sqrt(spread) + eps);
        if (buf) change = buf[i] = momentum * buf[i] + change;
        p[i] -= lr * change;
    }
}
