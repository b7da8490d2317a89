// Integer arithmetic of the epilogues, and reading and writing of packed 4-bit values.
// Device functions of the CUDA templates; the tests' emulator compiles this file as host C++ as it stands.

// x * multiplier / 2**shift, rounded half away from zero, for 1 <= shift <= 62 (see quantize/dyadic.py).
__device__ __forceinline__ long long lb_rescale(int x, int multiplier, int shift) {
  long long product = (long long)x * multiplier;
  return (product + (1LL << (shift - 1)) + (product >> 63)) >> shift;
}

// The same where a clamp at zero follows, so that the rounding of negative values cannot be seen.
__device__ __forceinline__ long long lb_rescale_relu(int x, int multiplier, int shift) {
  return ((long long)x * multiplier + (1LL << (shift - 1))) >> shift;
}

// a * b + c, modulo 2**64.
__device__ __forceinline__ long long lb_multiply_add(int a, int b, long long c) {
  return (long long)((unsigned long long)((long long)a * b) + (unsigned long long)c);
}

// The value itself, so that the compiler does not widen it ahead of a branch: where it sees that a factor has 32 bits,
// the upper half of a product with its addend is one instruction.
__device__ __forceinline__ int lb_as_it_is(int x) {
#ifdef __CUDACC__
  asm("mov.b32 %0, %0;" : "+r"(x));
#endif
  return x;
}

// lb_rescale for a shift of at least 32: only the upper half of the product is shifted, and the result fits 32 bits.
__device__ __forceinline__ int lb_rescale_high(int x, int multiplier, int shift) {
  return (int)(lb_multiply_add(x, multiplier, (1LL << (shift - 1)) + (x >> 31)) >> 32) >> (shift - 32);
}

// What is added to a sum times multiplier: the bias, multiplied, and half a unit of the result.
__device__ __forceinline__ long long lb_addend(int bias, int multiplier, int shift) {
  return lb_multiply_add(bias, multiplier, 1LL << (shift - 1));
}

// lb_rescale_relu of a sum with its bias for a shift of at least 32; `addend` from lb_addend.
__device__ __forceinline__ int lb_rescale_relu_high(int sum, int multiplier, int shift, long long addend) {
  return (int)(lb_multiply_add(sum, multiplier, addend) >> 32) >> (shift - 32);
}

// By how much a narrow value must be shifted left, and its shift right made longer, for the latter to be at least 32.
__device__ __forceinline__ int lb_missing_shift(int shift) { return shift < 32 ? 32 - shift : 0; }

__device__ __forceinline__ int lb_clamp32(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

__device__ __forceinline__ int lb_clamp(long long x, int low, int high) {
  return (int)(x < low ? low : x > high ? high : x);
}

// Channel `index` of a byte with two 4-bit channels, the even one in the low nibble.
__device__ __forceinline__ int lb_nibble_s4(int byte, int index) { return (byte << (28 - 4 * (index & 1))) >> 28; }
__device__ __forceinline__ int lb_nibble_u4(int byte, int index) { return (byte >> (4 * (index & 1))) & 15; }
