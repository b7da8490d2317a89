// Split K: the blocks that share a tile, and how they learn who is last.

// Called by one thread of a block, behind a barrier that follows the block's stores of its partial sums: the number of
// blocks that had called before. The last one sets the counter back to zero. Another barrier must follow: it hands on to
// the block's other threads that what the other blocks wrote can be read.
__device__ __forceinline__ int lb_arrive(int* counter, int splits) {
  __threadfence();  // this block's sums ahead of the count
  int before = (int)atomicInc((unsigned*)counter, (unsigned)splits - 1);
  __threadfence();  // the others' sums behind the count
  return before;
}
