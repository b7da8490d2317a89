// What the text of a CUDA kernel finds when it is compiled as host C++: pointers that check every access, and stand-ins
// for CUDA's built-in functions and for the inline PTX of our headers. No standard header is included, so that the
// kernel's own typedefs collide with nothing and many kernels compile quickly. The checks themselves are in runtime.cpp.
#pragma once

#define __device__
#define __forceinline__ inline

namespace emulator {

struct Buffer;

// Every function below ends the launch, with a Fault, where something is wrong.
void load(Buffer* buffer, long offset, int size, void* to);
void store(Buffer* buffer, long offset, int size, const void* from);
Buffer* argument_buffer(int index);
Buffer* shared_buffer();
int atomic_add(Buffer* buffer, long offset, int value);
int atomic_increment(Buffer* buffer, long offset, unsigned wrap_at);
void barrier(int line);
void warp_barrier(unsigned mask, int line);
void fence();
int shuffle(unsigned mask, int value, int source_lane, int line);
int lane();
// Rows of 16 bytes at `offset` of each lane; `words` of them come to each lane.
void load_matrices(int* to, int words, Buffer* buffer, long offset, int line);
// c (2 words, or 4 of a tall one) += a (1 word or 4) * b (1 word or 2); `bits` of an element, `tall` for m16.
void multiply(int* c, const int* a, const int* b, int bits, bool a_signed, bool tall, int line);
// c += bits that words of a and b share, or in which they differ; shapes as above.
void count_bits(int* c, const int* a, const int* b, bool shared, bool tall, int line);
[[noreturn]] void local_out_of_bounds(int index, int count);

template <class T> struct Ptr;

// An element in memory that has not been read or written yet.
template <class T> struct Ref {
  Buffer* buffer;
  long offset;
  operator T() const { T value; load(buffer, offset, sizeof(T), &value); return value; }
  T operator=(T value) const { store(buffer, offset, sizeof(T), &value); return value; }
  T operator=(const Ref& other) const { return *this = (T)other; }
  Ptr<T> operator&() const { return {buffer, offset}; }
};

template <class T> struct Ptr {
  Buffer* buffer;
  long offset;
  Ref<T> operator[](long index) const { return {buffer, offset + index * (long)sizeof(T)}; }
  Ref<T> operator*() const { return {buffer, offset}; }
  Ptr operator+(long index) const { return {buffer, offset + index * (long)sizeof(T)}; }
  void operator&() const = delete;
};

// A local array: bounds are checked, and what nobody wrote is no zero. A function that is handed its last element may
// write up to three more, which do no harm.
template <class T, int N> struct Local {
  alignas(16) T data[N + 3];
  Local() { __builtin_memset(data, 0xA5, sizeof data); }
  T& operator[](int index) {
    if ((unsigned)index >= (unsigned)N) local_out_of_bounds(index, N);
    return data[index];
  }
  T* operator+(int index) { return &(*this)[index]; }
  operator T*() { return data; }
};

// *(T*)(pointer)
template <class T, class U> Ref<T> as(Ptr<U> pointer) { return {pointer.buffer, pointer.offset}; }
template <class T, class U> T& as(U* local) { return *(T*)local; }
template <class T, class U, int N> T& as(Local<U, N>& local) { return *(T*)local.data; }

// ((T*)array), behind which an index counts in T
template <class T, class U> Ptr<T> view(Ptr<U> array) { return {array.buffer, array.offset}; }

template <class T> Ptr<T> shared_array() { return {shared_buffer(), 0}; }

// Becomes a pointer of whatever type the kernel's parameter has.
struct Argument {
  int index;
  template <class T> operator Ptr<T>() const { return {argument_buffer(index), 0}; }
};

struct Index3 { unsigned x, y, z; };

}  // namespace emulator

extern emulator::Index3 threadIdx, blockIdx;

#define VECTOR_TYPES(name, scalar)                                                            \
  struct alignas(2 * sizeof(scalar)) name##2 { scalar x, y; };                                \
  struct alignas(4 * sizeof(scalar)) name##4 { scalar x, y, z, w; };                          \
  inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                        \
  inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
VECTOR_TYPES(char, signed char)
VECTOR_TYPES(uchar, unsigned char)
VECTOR_TYPES(short, short)
VECTOR_TYPES(ushort, unsigned short)
VECTOR_TYPES(int, int)
VECTOR_TYPES(uint, unsigned)

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }

inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 32; i += 8) c += (signed char)(a >> i) * (signed char)(b >> i);
  return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 32; i += 8) c += (a >> i & 255) * (b >> i & 255);
  return c;
}

inline void __syncthreads(int line = __builtin_LINE()) { emulator::barrier(line); }
inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) { emulator::warp_barrier(mask, line); }
inline void __threadfence() { emulator::fence(); }

inline int __shfl_sync(unsigned mask, int value, int source, int line = __builtin_LINE()) {
  return emulator::shuffle(mask, value, source & 31, line);
}
inline int __shfl_xor_sync(unsigned mask, int value, int flip, int line = __builtin_LINE()) {
  return emulator::shuffle(mask, value, emulator::lane() ^ flip, line);
}
inline int __shfl_down_sync(unsigned mask, int value, int delta, int line = __builtin_LINE()) {
  int source = emulator::lane() + delta;
  return emulator::shuffle(mask, value, source < 32 ? source : emulator::lane(), line);
}
inline int __shfl_up_sync(unsigned mask, int value, int delta, int line = __builtin_LINE()) {
  int source = emulator::lane() - delta;
  return emulator::shuffle(mask, value, source >= 0 ? source : emulator::lane(), line);
}

template <class T> int atomicAdd(emulator::Ptr<T> at, int value) {
  return emulator::atomic_add(at.buffer, at.offset, value);
}
template <class T> unsigned atomicInc(emulator::Ptr<T> at, unsigned wrap_at) {
  return emulator::atomic_increment(at.buffer, at.offset, wrap_at);
}

// Stand-ins for the inline PTX of mma.h.

#define LDMATRIX(count)                                                                                         \
  template <class T> void lb_ldmatrix_x##count(int* to, emulator::Ptr<T> row, int line = __builtin_LINE()) {    \
    emulator::load_matrices(to, count, row.buffer, row.offset, line);                                           \
  }
LDMATRIX(1)
LDMATRIX(2)
LDMATRIX(4)

#define MMA_M8(name, bits, a_signed)                                          \
  inline void name(int* c, int a, int b, int line = __builtin_LINE()) {       \
    emulator::multiply(c, &a, &b, bits, a_signed, false, line);               \
  }
MMA_M8(lb_mma_m8n8k16_s8, 8, true)
MMA_M8(lb_mma_m8n8k16_u8, 8, false)
MMA_M8(lb_mma_m8n8k32_s4, 4, true)
MMA_M8(lb_mma_m8n8k32_u4, 4, false)

#define MMA_M16(name, bits, a_signed)                                                                               \
  inline void name(int* c, int a0, int a1, int a2, int a3, int b0, int b1, int line = __builtin_LINE()) {           \
    const int a[] = {a0, a1, a2, a3}, b[] = {b0, b1};                                                               \
    emulator::multiply(c, a, b, bits, a_signed, true, line);                                                        \
  }
MMA_M16(lb_mma_m16n8k32_s8, 8, true)
MMA_M16(lb_mma_m16n8k32_u8, 8, false)
MMA_M16(lb_mma_m16n8k64_s4, 4, true)
MMA_M16(lb_mma_m16n8k64_u4, 4, false)

inline void lb_mma_m8n8k128_xor(int* c, int a, int b, int line = __builtin_LINE()) {
  emulator::count_bits(c, &a, &b, false, false, line);
}
#define BIT_MMA_M16(name, shared)                                                                                   \
  inline void name(int* c, int a0, int a1, int a2, int a3, int b0, int b1, int line = __builtin_LINE()) {           \
    const int a[] = {a0, a1, a2, a3}, b[] = {b0, b1};                                                               \
    emulator::count_bits(c, a, b, shared, true, line);                                                              \
  }
BIT_MMA_M16(lb_mma_m16n8k256_xor, false)
BIT_MMA_M16(lb_mma_m16n8k256_and, true)
