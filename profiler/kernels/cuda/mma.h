// Tensor cores and what feeds them: the instructions of the template `mma`, each in a device function of its own.
//
// Fragments are words of 32 bits: 4 values of 8 bits or 8 of 4 bits. Lane l holds of an 8 x 4-word matrix row l / 4,
// word l % 4 (for B: column l / 4), and of a sum row l / 4, columns 2 * (l % 4) and the next.
// (PTX ISA: "Warp-level matrix instructions", mma and ldmatrix.)

// All are volatile: a warp executes them together, so none may be moved behind a branch that lanes take differently.
// Shared memory is written by plain stores, hence the "memory" of ldmatrix.

#define LB_DEVICE __device__ __forceinline__

LB_DEVICE unsigned lb_shared_address(const int* pointer) { return (unsigned)__cvta_generic_to_shared(pointer); }

// Lane l gives the address of row l % 8 of matrix l / 8: 16 bytes.
LB_DEVICE void lb_ldmatrix_x1(int* d, const int* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(d[0])
               : "r"(lb_shared_address(row))
               : "memory");
}

LB_DEVICE void lb_ldmatrix_x2(int* d, const int* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(d[0]), "=r"(d[1])
               : "r"(lb_shared_address(row))
               : "memory");
}

LB_DEVICE void lb_ldmatrix_x4(int* d, const int* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(lb_shared_address(row))
               : "memory");
}

// 8 x 8 sums from one matrix of A and one of B.
#define LB_MMA_8X8(name, shape, a_type, b_type)                                                        \
  LB_DEVICE void name(int* c, int a, int b) {                                                          \
    asm volatile("mma.sync.aligned." shape ".row.col.s32." a_type "." b_type ".s32 "                   \
                 "{%0, %1}, {%2}, {%3}, {%0, %1};"                                                     \
                 : "+r"(c[0]), "+r"(c[1])                                                              \
                 : "r"(a), "r"(b));                                                                    \
  }

LB_MMA_8X8(lb_mma_m8n8k16_s8, "m8n8k16", "s8", "s8")
LB_MMA_8X8(lb_mma_m8n8k16_u8, "m8n8k16", "u8", "s8")
LB_MMA_8X8(lb_mma_m8n8k32_s4, "m8n8k32", "s4", "s4")
LB_MMA_8X8(lb_mma_m8n8k32_u4, "m8n8k32", "u4", "s4")

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
// 16 x 8 sums from two by two matrices of A (rows 0-7 and 8-15 of the first four words, then of the next four)
// and two of B (first four words, next four). Sums 0 and 1 are of row l / 4, sums 2 and 3 of row l / 4 + 8.
#define LB_MMA_16X8(name, shape, a_type, b_type)                                                       \
  LB_DEVICE void name(int* c, int a0, int a1, int a2, int a3, int b0, int b1) {                        \
    asm volatile("mma.sync.aligned." shape ".row.col.s32." a_type "." b_type ".s32 "                   \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                     \
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                      \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                              \
  }

LB_MMA_16X8(lb_mma_m16n8k32_s8, "m16n8k32", "s8", "s8")
LB_MMA_16X8(lb_mma_m16n8k32_u8, "m16n8k32", "u8", "s8")
LB_MMA_16X8(lb_mma_m16n8k64_s4, "m16n8k64", "s4", "s4")
LB_MMA_16X8(lb_mma_m16n8k64_u4, "m16n8k64", "u4", "s4")
#endif
