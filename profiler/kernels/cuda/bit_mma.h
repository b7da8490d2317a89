// Binary tensor cores; stands behind mma.h. Fragments are those of mma.h, a word being 32 bits of a plane.
// (PTX ISA: "Warp-level matrix instructions", mma.m8n8k128 and mma.m16n8k256 of .b1.)

// Adds to each sum the number of bits in which a row of A and a column of B differ (XOR), or that both have (AND; the
// instruction begins with sm_80).
LB_DEVICE void lb_mma_m8n8k128_xor(int* c, int a, int b) {
  asm volatile("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0, %1}, {%2}, {%3}, {%0, %1};"
               : "+r"(c[0]), "+r"(c[1])
               : "r"(a), "r"(b));
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
#define LB_BIT_MMA_16X8(name, operation)                                                               \
  LB_DEVICE void name(int* c, int a0, int a1, int a2, int a3, int b0, int b1) {                        \
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32." operation ".popc "                \
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                     \
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])                                      \
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));                              \
  }

LB_BIT_MMA_16X8(lb_mma_m16n8k256_xor, "xor")
LB_BIT_MMA_16X8(lb_mma_m16n8k256_and, "and")
#endif
