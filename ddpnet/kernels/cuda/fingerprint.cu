// Fingerprints of memory; the same words as those of kernels/cpu/fingerprint.py.
typedef unsigned long long word;

__device__ word mixed(word x) {
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDull;
    x ^= x >> 33;
    x *= 0xC4CEB9FE1A85EC53ull;
    return x ^ (x >> 33);
}

// table (rows, 2): address and bytes; words (rows,), which begin as zeros. Sums of integers have no order.
extern "C" __global__ void fingerprints(const word *table, word *words, int rows) {
    const word golden = 0x9E3779B97F4A7C15ull;
    const word stride = gridDim.x * blockDim.x, thread = blockIdx.x * blockDim.x + threadIdx.x;
    for (int row = 0; row < rows; row++) {
        const word *memory = (const word *)table[2 * row];
        const word size = table[2 * row + 1], whole = size / 8;
        word sum = 0;
        for (word i = thread; i < whole; i += stride) sum += mixed(memory[i] ^ (i * golden));
        if (size % 8 && thread == whole % stride) {
            const unsigned char *rest = (const unsigned char *)(memory + whole);
            word last = 0;
            for (int i = 0; i < (int)(size % 8); i++) last |= (word)rest[i] << (8 * i);
            sum += mixed(last ^ (whole * golden));
        }
        if (sum) atomicAdd(words + row, sum);
    }
}
