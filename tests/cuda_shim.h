// Lets a C++ compiler take a CUDA source whose threads do not wait for each other: the test sets the indices and calls a
// kernel once for every thread.
#include <cmath>
#include <algorithm>
using std::max;
using std::min;
using std::sqrt;
#define __global__
#define __device__ static
static void atomicAdd(unsigned long long *sum, unsigned long long value) { *sum += value; }
struct Index { int x, y, z; };
extern "C" {
Index blockIdx, threadIdx, blockDim, gridDim;
}
