// Products of packed values for the templates without tensor cores.
// The tests' emulator compiles this file as host C++ as it stands, on the plain branches.

// c + sum of the four products of bytes; those of b are signed, those of a signed or unsigned.
__device__ __forceinline__ int lb_dp4a_s(int a, int b, int c) {
#ifdef __CUDACC__
  return __dp4a(a, b, c);
#else
  for (int i = 0; i < 32; i += 8) c += (signed char)(a >> i) * (signed char)(b >> i);
  return c;
#endif
}

__device__ __forceinline__ int lb_dp4a_u(int a, int b, int c) {
#ifdef __CUDACC__
  int d;
  asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#else
  for (int i = 0; i < 32; i += 8) c += (unsigned char)(a >> i) * (signed char)(b >> i);
  return c;
#endif
}

// The four even (odd: 0) or odd (odd: 1) nibbles of a word as bytes.
__device__ __forceinline__ int lb_bytes_u4(int word, int odd) { return (word >> (4 * odd)) & 0x0f0f0f0f; }

// Sign extension without carries between bytes: with the sign turned a nibble is its value + 8; adding 0x78 and turning
// the sign of the byte takes 8 off again.
__device__ __forceinline__ int lb_bytes_s4(int word, int odd) {
  return (int)((((unsigned)lb_bytes_u4(word, odd) ^ 0x08080808u) + 0x78787878u) ^ 0x80808080u);
}
