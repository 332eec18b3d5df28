// Fingerprints of memory; the same words as those of kernels/cpu/fingerprint.py, where they are explained.
typedef unsigned long long word;

__device__ word joined(word x, word next) {
    x = (x ^ next) * 0xC4CEB9FE1A85EC53ull;
    return x ^ (x >> 32);
}

__device__ word mixed(word x) {
    x ^= x >> 33;
    x *= 0xFF51AFD7ED558CCDull;
    x ^= x >> 33;
    x *= 0xC4CEB9FE1A85EC53ull;
    return x ^ (x >> 33);
}

// Word `place` of some memory of `size` bytes, behind which are zeros.
__device__ word word_at(const word *memory, word size, word place) {
    if (place < size / 8) return memory[place];
    const unsigned char *bytes = (const unsigned char *)memory;
    word value = 0;
    for (word i = 8 * place; i < size; i++) value |= (word)bytes[i] << (8 * (i % 8));
    return value;
}

// table (rows, 2): address and bytes; words (rows,), which begin as zeros. A thread takes whole chains.
extern "C" __global__ void fingerprints(const word *table, word *words, int rows) {
    const word golden = 0x9E3779B97F4A7C15ull;
    const word stride = gridDim.x * blockDim.x, thread = blockIdx.x * blockDim.x + threadIdx.x;
    for (int row = 0; row < rows; row++) {
        const word *memory = (const word *)table[2 * row];
        const word size = table[2 * row + 1], chains = 16 * ((size + 1023) / 1024);
        word sum = 0;
        for (word place = thread; place < chains; place += stride) {
            word x = golden;
            for (int i = 0; i < 8; i++) x = joined(x, word_at(memory, size, place / 16 * 128 + place % 16 + 16 * i));
            sum += mixed(x ^ (place * golden));
        }
        if (sum) atomicAdd(words + row, sum);
    }
}
