// Bits of planes and bytes of channels: bit i of the lowest four is the lowest bit of byte i.
// The tests' emulator compiles this file as host C++ as it stands.

__device__ __forceinline__ int lb_bytes_of_bits(int bits) {
  return (int)((((unsigned)bits & 15u) * 0x00204081u) & 0x01010101u);
}

// Codes in the bytes of a word, as signed bytes; `sign` is the code's sign bit. There are no carries between bytes.
__device__ __forceinline__ int lb_signed_bytes(int codes, int sign) {
  return (int)((((unsigned)codes ^ (unsigned)sign * 0x01010101u) + (0x80u - sign) * 0x01010101u) ^ 0x80808080u);
}

__device__ __forceinline__ int lb_bits_of_bytes(int bytes) {
  return (int)((((unsigned)bytes & 0x01010101u) * 0x10204080u) >> 28);
}
