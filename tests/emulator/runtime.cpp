// The emulated GPU: blocks one after another, a block's threads as fibers of one OS thread, warps one after another.
//
// A warp runs until all of its lanes wait or have ended, then the next one does; `reverse` turns the order of lanes,
// warps and blocks around. What a whole warp does together is done by the last lane to arrive.
//
// Time is a counter: each barrier begins a new instant, and what happened before it is ordered before what follows.
// Two accesses of different threads that nothing orders, one of them a write, are a race, whichever came first here.

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <vector>

#include "shim.h"

emulator::Index3 threadIdx, blockIdx;

namespace emulator {

extern void (*const bodies[])();  // of the kernels in this library

constexpr int kLanes = 32;
constexpr long kStackBytes = 256 << 10;  // the largest frame of a kernel is 8 KB
constexpr long kGuardBytes = 4096;
constexpr long kAccessLimit = 300'000'000;  // seconds; kernels of tests do a thousandth of it
constexpr uint32_t kNever = 0;

enum Role : int { kReadOnly, kOutput, kInOut, kWorkspace, kCounters, kShared };

struct WriteMark { uint32_t time, block; uint16_t thread; };                    // of a byte of global memory
struct SharedMark { uint32_t written, read[2]; uint16_t writer, reader[2]; };   // the two last readers are different

struct Buffer {
  int index;  // of the argument, -1: shared memory
  Role role;
  unsigned char* data;
  long size;
  std::vector<WriteMark> marks;  // of buffers that the kernel may write
};

struct FaultRecord {
  char kind[24];
  int buffer;  // as Buffer::index, -2: none
  long offset;
  int block[3];
  int thread;
  char text[168];
};

enum class State { kReady, kAtCollective, kAtBarrier, kDone };

struct Thread {
  jmp_buf context;
  bool started;
  State state;
  int line;             // where it waits
  unsigned mask;        // of the collective
  const char* operation;
  int value, source;    // shuffle
  Buffer* buffer;       // ldmatrix
  long offset;
  int* to;              // ldmatrix, multiply
  const int *a, *b;
  uint32_t fenced;      // time of its last fence
};

struct Arrival {  // a block's last atomic operation behind a fence: it publishes, and it may see what others published
  const Buffer* buffer;
  long offset;
  uint32_t time, synced;
  int thread;
  uint32_t fenced_after;  // when the thread that arrived had a fence behind it
};

struct Launch {
  void (*body)();
  int grid[3], threads, current;
  bool reverse;
  uint32_t now, block, block_start, synced;  // time: of the block's start and of its last barrier
  std::vector<uint32_t> warp_synced;
  long accesses;
  std::vector<Thread> thread;
  std::vector<Buffer> arguments;
  std::vector<Arrival> arrivals;
  Buffer shared;
  std::vector<unsigned char> shared_data;
  std::vector<SharedMark> shared_marks;
  char* stacks;
  FaultRecord* fault;
  jmp_buf scheduler, failed;
};
static Launch* launch;  // one at a time in each library

// Faults

[[noreturn]] __attribute__((format(printf, 4, 5))) static void fail(
    const char* kind, const Buffer* buffer, long offset, const char* format, ...) {
  FaultRecord& fault = *launch->fault;
  snprintf(fault.kind, sizeof fault.kind, "%s", kind);
  fault.buffer = buffer ? buffer->index : -2;
  fault.offset = offset;
  fault.block[0] = (int)blockIdx.x, fault.block[1] = (int)blockIdx.y, fault.block[2] = (int)blockIdx.z;
  fault.thread = launch->current;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fault.text, sizeof fault.text, format, arguments);
  va_end(arguments);
  _longjmp(launch->failed, 1);  // the fibers are abandoned where they are; nothing of theirs wants to be destroyed
}

void local_out_of_bounds(int index, int count) {
  fail("out_of_bounds", nullptr, index, "element %d of a local array of %d", index, count);
}

// Memory

static void check_access(const Buffer* buffer, long offset, int size) {
  if (++launch->accesses > kAccessLimit) fail("endless", buffer, offset, "more accesses than any test has");
  if (offset < 0 || offset + size > buffer->size)
    fail("out_of_bounds", buffer, offset, "%d bytes at %ld of %ld", size, offset, buffer->size);
  if (offset % size) fail("misaligned", buffer, offset, "%d bytes at %ld", size, offset);
}

// Whether what `thread` of this block did at `time` is ordered before what `reader` does now.
static bool ordered(uint32_t time, int thread, int current) {
  return thread == current || time < launch->synced ||
         (thread / kLanes == current / kLanes && time < launch->warp_synced[current / kLanes]);
}

static void check_shared_read(long offset, int size, int reader) {
  SharedMark* mark = &launch->shared_marks[offset];
  for (SharedMark* end = mark + size; mark < end; ++mark, ++offset) {
    if (mark->written < launch->block_start) fail("uninitialised", &launch->shared, offset, "nothing wrote this byte");
    if (!ordered(mark->written, mark->writer, reader))
      fail("race", &launch->shared, offset, "thread %d reads what thread %d writes, no barrier between", reader,
           mark->writer);
    if (mark->reader[0] != reader) mark->read[1] = mark->read[0], mark->reader[1] = mark->reader[0];
    mark->read[0] = launch->now, mark->reader[0] = (uint16_t)reader;
  }
}

static void check_shared_write(long offset, int size) {
  int writer = launch->current;
  SharedMark* mark = &launch->shared_marks[offset];
  for (SharedMark* end = mark + size; mark < end; ++mark, ++offset) {
    if (mark->written >= launch->block_start && !ordered(mark->written, mark->writer, writer))
      fail("race", &launch->shared, offset, "threads %d and %d write, no barrier between", mark->writer, writer);
    for (int i = 0; i < 2; ++i)
      if (mark->read[i] >= launch->block_start && !ordered(mark->read[i], mark->reader[i], writer))
        fail("race", &launch->shared, offset, "thread %d writes what thread %d reads, no barrier between", writer,
             mark->reader[i]);
    mark->written = launch->now, mark->writer = (uint16_t)writer;
  }
}

// Whether what another block wrote may be read: it arrived at a counter behind the write, this block at the same one
// ahead of the read, with fences and barriers that order all threads between.
static bool published(const WriteMark& mark) {
  const Arrival &theirs = launch->arrivals[mark.block], &ours = launch->arrivals[launch->block];
  return theirs.buffer && theirs.buffer == ours.buffer && theirs.offset == ours.offset && ours.fenced_after != kNever &&
         (mark.thread == theirs.thread || mark.time < theirs.synced) &&
         ordered(ours.fenced_after, ours.thread, launch->current);
}

static void check_global_read(const Buffer* buffer, long offset, int size) {
  if (buffer->role == kReadOnly) return;
  if (buffer->role == kCounters) fail("race", buffer, offset, "a counter is read by no atomic operation");
  for (long end = offset + size; offset < end; ++offset) {
    const WriteMark& mark = buffer->marks[offset];
    if (mark.time == kNever) {
      if (buffer->role != kInOut) fail("uninitialised", buffer, offset, "nothing wrote this byte");
    } else if (mark.block == launch->block ? !ordered(mark.time, mark.thread, launch->current) : !published(mark)) {
      fail("race", buffer, offset, "thread %d of block %u wrote this byte, nothing orders the read behind it",
           mark.thread, mark.block);
    }
  }
}

static void check_global_write(Buffer* buffer, long offset, int size) {
  if (buffer->role == kReadOnly) fail("read_only", buffer, offset, "a write to an argument that is only read");
  if (buffer->role == kCounters) fail("race", buffer, offset, "a counter is written by no atomic operation");
  for (long end = offset + size; offset < end; ++offset) {
    WriteMark& mark = buffer->marks[offset];
    if (mark.time != kNever && (mark.block != launch->block || mark.thread != launch->current))
      fail("write_conflict", buffer, offset, "thread %d of block %u wrote this byte as well", mark.thread, mark.block);
    mark = {launch->now, launch->block, (uint16_t)launch->current};
  }
}

void load(Buffer* buffer, long offset, int size, void* to) {
  check_access(buffer, offset, size);
  if (buffer->role == kShared)
    check_shared_read(offset, size, launch->current);
  else
    check_global_read(buffer, offset, size);
  memcpy(to, buffer->data + offset, size);
}

void store(Buffer* buffer, long offset, int size, const void* from) {
  check_access(buffer, offset, size);
  if (buffer->role == kShared)
    check_shared_write(offset, size);
  else
    check_global_write(buffer, offset, size);
  memcpy(buffer->data + offset, from, size);
}

Buffer* argument_buffer(int index) { return &launch->arguments[index]; }
Buffer* shared_buffer() { return &launch->shared; }

static int* atomic_word(Buffer* buffer, long offset) {
  check_access(buffer, offset, sizeof(int));
  if (buffer->role != kCounters) fail("read_only", buffer, offset, "an atomic operation on what is no counter");
  const Thread& self = launch->thread[launch->current];
  Arrival& arrival = launch->arrivals[launch->block];
  if (self.fenced >= launch->synced)
    arrival = {buffer, offset, launch->now, launch->synced, launch->current, kNever};
  return (int*)(buffer->data + offset);
}

int atomic_add(Buffer* buffer, long offset, int value) {
  int *word = atomic_word(buffer, offset), old = *word;
  *word = (int)((unsigned)old + (unsigned)value);
  return old;
}

int atomic_increment(Buffer* buffer, long offset, unsigned wrap_at) {
  int *word = atomic_word(buffer, offset), old = *word;
  *word = (unsigned)old >= wrap_at ? 0 : old + 1;
  return old;
}

void fence() {
  launch->thread[launch->current].fenced = launch->now;
  Arrival& arrival = launch->arrivals[launch->block];
  if (arrival.buffer && arrival.thread == launch->current) arrival.fenced_after = launch->now;
}

// Threads

static void yield() {
  if (!_setjmp(launch->thread[launch->current].context)) _longjmp(launch->scheduler, 1);
}

static void fiber() {
  for (;;) {  // one turn for each block
    launch->body();
    launch->thread[launch->current].state = State::kDone;
    yield();
  }
}

static void resume(int index) {
  Thread& thread = launch->thread[index];
  launch->current = index;
  threadIdx.x = (unsigned)index;
  if (_setjmp(launch->scheduler)) return;
  if (thread.started) _longjmp(thread.context, 1);
  thread.started = true;
  ucontext_t start;
  getcontext(&start);
  start.uc_stack.ss_sp = launch->stacks + index * (kStackBytes + kGuardBytes) + kGuardBytes;
  start.uc_stack.ss_size = kStackBytes;
  start.uc_link = nullptr;
  makecontext(&start, fiber, 0);
  setcontext(&start);
}

int lane() { return launch->current % kLanes; }

static void wait(State state, const char* operation, int line) {
  Thread& self = launch->thread[launch->current];
  self.state = state, self.operation = operation, self.line = line;
  yield();
}

void barrier(int line) { wait(State::kAtBarrier, "__syncthreads", line); }

// Waits for the other lanes of the mask; true for the one that does the work of all.
static bool last_to_arrive(unsigned mask, const char* operation, int line) {
  int first = launch->current / kLanes * kLanes;
  if (!(mask >> lane() & 1)) fail("divergent_barrier", nullptr, 0, "line %d: %s without the caller", line, operation);
  Thread& self = launch->thread[launch->current];
  self.mask = mask, self.line = line, self.operation = operation;
  for (int i = 0; i < kLanes; ++i) {
    if (!(mask >> i & 1) || first + i == launch->current) continue;
    if (first + i >= launch->threads)
      fail("divergent_barrier", nullptr, 0, "line %d: %s of a warp that is not full", line, operation);
    const Thread& other = launch->thread[first + i];
    if (other.state != State::kAtCollective || other.operation != operation || other.line != line || other.mask != mask) {
      wait(State::kAtCollective, operation, line);
      return false;
    }
  }
  for (int i = 0; i < kLanes; ++i)
    if (mask >> i & 1) launch->thread[first + i].state = State::kReady;
  return true;
}

static Thread* warp_threads() { return &launch->thread[launch->current / kLanes * kLanes]; }

void warp_barrier(unsigned mask, int line) {
  if (last_to_arrive(mask, "__syncwarp", line) && mask == ~0u)
    launch->warp_synced[launch->current / kLanes] = ++launch->now;
}

int shuffle(unsigned mask, int value, int source_lane, int line) {
  int index = launch->current;
  launch->thread[index].value = value;
  launch->thread[index].source = source_lane;
  if (last_to_arrive(mask, "__shfl_sync", line)) {
    int values[kLanes];
    Thread* warp = warp_threads();
    for (int i = 0; i < kLanes; ++i) values[i] = mask >> i & 1 ? warp[i].value : 0;
    for (int i = 0; i < kLanes; ++i) {
      if (!(mask >> i & 1)) continue;
      if (!(mask >> warp[i].source & 1))
        fail("divergent_barrier", nullptr, 0, "line %d: __shfl_sync from lane %d, which takes no part", line,
             warp[i].source);
      warp[i].value = values[warp[i].source];
    }
  }
  return launch->thread[index].value;
}

static const char* const kLoadMatrices[] = {"", "lb_ldmatrix_x1", "lb_ldmatrix_x2", "", "lb_ldmatrix_x4"};

void load_matrices(int* to, int words, Buffer* buffer, long offset, int line) {
  Thread& self = launch->thread[launch->current];
  self.to = to, self.buffer = buffer, self.offset = offset;
  if (!last_to_arrive(~0u, kLoadMatrices[words], line)) return;
  Thread* warp = warp_threads();
  int first = launch->current / kLanes * kLanes;
  for (int row = 0; row < 8 * words; ++row) {
    if (warp[row].buffer->role != kShared)
      fail("out_of_bounds", warp[row].buffer, warp[row].offset, "line %d: ldmatrix outside of shared memory", line);
    check_access(warp[row].buffer, warp[row].offset, 16);
    for (int word = 0; word < 4; ++word) {
      int reader = row % 8 * 4 + word;
      long at = warp[row].offset + 4 * word;
      check_shared_read(at, 4, first + reader);
      memcpy(&warp[reader].to[row / 8], launch->shared.data + at, 4);
    }
  }
}

// Elements of a row of words, widened.
static void widen(short* to, uint32_t word, int bits, bool is_signed) {
  for (int i = 0; i < 32 / bits; ++i) {
    uint32_t element = word << (32 - bits - bits * i);
    to[i] = (short)(is_signed ? (int32_t)element >> (32 - bits) : (int32_t)(element >> (32 - bits)));
  }
}

static const char* const kMultiply[2][2][2] = {
    {{"lb_mma_m8n8k32_u4", "lb_mma_m8n8k32_s4"}, {"lb_mma_m8n8k16_u8", "lb_mma_m8n8k16_s8"}},
    {{"lb_mma_m16n8k64_u4", "lb_mma_m16n8k64_s4"}, {"lb_mma_m16n8k32_u8", "lb_mma_m16n8k32_s8"}}};

void multiply(int* c, const int* a, const int* b, int bits, bool a_signed, bool tall, int line) {
  Thread& self = launch->thread[launch->current];
  self.to = c, self.a = a, self.b = b;
  if (!last_to_arrive(~0u, kMultiply[tall][bits == 8][a_signed], line)) return;
  const Thread* warp = warp_threads();
  constexpr int kMost = 64;  // elements of K
  short rows[16][kMost] = {}, columns[8][kMost] = {};
  int elements = 32 / bits;
  for (int i = 0; i < kLanes; ++i) {
    int row = i / 4, at = i % 4 * elements;
    for (int j = 0; j < (tall ? 4 : 1); ++j)
      widen(&rows[row + 8 * (j % 2)][at + 4 * elements * (j / 2)], (uint32_t)warp[i].a[j], bits, a_signed);
    for (int j = 0; j < (tall ? 2 : 1); ++j)
      widen(&columns[row][at + 4 * elements * j], (uint32_t)warp[i].b[j], bits, true);
  }
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < (tall ? 4 : 2); ++j) {
      const short *row = rows[i / 4 + 8 * (j / 2)], *column = columns[i % 4 * 2 + j % 2];
      int sum = 0;
      for (int k = 0; k < kMost; ++k) sum += row[k] * column[k];
      warp[i].to[j] = (int)((unsigned)warp[i].to[j] + (unsigned)sum);
    }
  }
}

static const char* const kCountBits[2][2] = {{"lb_mma_m8n8k128_xor", "lb_mma_m8n8k128_and"},
                                             {"lb_mma_m16n8k256_xor", "lb_mma_m16n8k256_and"}};

// Written apart from `multiply`, from the PTX ISA: "Matrix fragments for mma.m8n8k128" and "mma.m16n8k256".
void count_bits(int* c, const int* a, const int* b, bool shared, bool tall, int line) {
  Thread& self = launch->thread[launch->current];
  self.to = c, self.a = a, self.b = b;
  if (!last_to_arrive(~0u, kCountBits[tall][shared], line)) return;
  const Thread* warp = warp_threads();
  uint32_t rows[16][8] = {}, columns[8][8] = {};  // words of K
  for (int i = 0; i < kLanes; ++i) {
    int group = i >> 2, in_group = i & 3;
    rows[group][in_group] = (uint32_t)warp[i].a[0];
    columns[group][in_group] = (uint32_t)warp[i].b[0];
    if (!tall) continue;
    rows[group + 8][in_group] = (uint32_t)warp[i].a[1];
    rows[group][in_group + 4] = (uint32_t)warp[i].a[2];
    rows[group + 8][in_group + 4] = (uint32_t)warp[i].a[3];
    columns[group][in_group + 4] = (uint32_t)warp[i].b[1];
  }
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < (tall ? 4 : 2); ++j) {
      const uint32_t *row = rows[(i >> 2) + (j < 2 ? 0 : 8)], *column = columns[(i & 3) * 2 + (j & 1)];
      unsigned count = 0;
      for (int k = 0; k < 8; ++k) count += __builtin_popcount(shared ? row[k] & column[k] : row[k] ^ column[k]);
      warp[i].to[j] = (int)((unsigned)warp[i].to[j] + count);
    }
  }
}

// Scheduling

static void run_warp(int warp) {
  int first = warp * kLanes, count = launch->threads - first < kLanes ? launch->threads - first : kLanes;
  for (bool ran = true; ran;) {
    ran = false;
    for (int i = 0; i < count; ++i) {
      int index = first + (launch->reverse ? count - 1 - i : i);
      if (launch->thread[index].state != State::kReady) continue;
      resume(index);
      ran = true;
    }
  }
}

[[noreturn]] static void fail_divergent(int waiting) {
  const Thread& one = launch->thread[waiting];
  launch->current = waiting;
  int other = 0;  // one that does not wait for the same thing; of the same warp, where it is a warp that waits
  if (one.state == State::kAtCollective) other = waiting / kLanes * kLanes;
  while (launch->thread[other].state == one.state && launch->thread[other].line == one.line) ++other;
  const Thread& two = launch->thread[other];
  if (two.state == State::kDone)
    fail("divergent_barrier", nullptr, 0, "waits at %s of line %d, but thread %d has ended", one.operation, one.line,
         other);
  fail("divergent_barrier", nullptr, 0, "waits at %s of line %d, but thread %d at %s of line %d", one.operation, one.line,
       other, two.operation, two.line);
}

static void run_block() {
  int warps = (launch->threads + kLanes - 1) / kLanes;
  launch->block_start = launch->synced = ++launch->now;
  launch->warp_synced.assign(warps, launch->now);
  for (Thread& thread : launch->thread) thread.state = State::kReady, thread.fenced = kNever;
  for (;;) {
    for (int i = 0; i < warps; ++i) run_warp(launch->reverse ? warps - 1 - i : i);
    const Thread& any = launch->thread[0];
    for (int i = 0; i < launch->threads; ++i) {
      const Thread& thread = launch->thread[i];
      if (thread.state == State::kAtCollective) fail_divergent(i);
      if (thread.state != any.state || (thread.state == State::kAtBarrier && thread.line != any.line))
        fail_divergent(thread.state == State::kAtBarrier ? i : 0);
    }
    if (any.state == State::kDone) return;
    launch->synced = ++launch->now;
    for (Thread& thread : launch->thread) thread.state = State::kReady;
  }
}

static void run_grid() {
  int blocks = launch->grid[0] * launch->grid[1] * launch->grid[2];
  launch->arrivals.assign(blocks, {});
  for (int i = 0; i < blocks; ++i) {
    int block = launch->reverse ? blocks - 1 - i : i;
    launch->block = (uint32_t)block;
    blockIdx.x = block % launch->grid[0];
    blockIdx.y = block / launch->grid[0] % launch->grid[1];
    blockIdx.z = block / launch->grid[0] / launch->grid[1];
    run_block();
  }
  for (const Buffer& buffer : launch->arguments) {
    if (buffer.role != kOutput) continue;
    for (long i = 0; i < buffer.size; ++i)
      if (buffer.marks[i].time == kNever) {
        launch->current = -1;
        fail("unwritten", &buffer, i, "nothing wrote this byte of the output");
      }
  }
}

// What -fsanitize=signed-integer-overflow calls; `where` is the file, then line and column.
struct Overflow {
  const char* file;
  unsigned line, column;
};

[[noreturn]] static void fail_overflow(const Overflow* where, const char* operation) {
  fail("overflow", nullptr, 0, "%s of signed integers in line %u leaves their type", operation, where->line);
}

extern "C" {
[[noreturn]] void __ubsan_handle_add_overflow(Overflow* at, void*, void*) { fail_overflow(at, "addition"); }
[[noreturn]] void __ubsan_handle_sub_overflow(Overflow* at, void*, void*) { fail_overflow(at, "subtraction"); }
[[noreturn]] void __ubsan_handle_mul_overflow(Overflow* at, void*, void*) { fail_overflow(at, "multiplication"); }
[[noreturn]] void __ubsan_handle_negate_overflow(Overflow* at, void*) { fail_overflow(at, "negation"); }
}

}  // namespace emulator

// shape: grid x, y, z, threads of a block, bytes of shared memory, 1 for the reverse order.
// Returns 0, or 1 with the fault.
extern "C" __attribute__((visibility("default"))) int emulator_launch(
    int kernel, const int* shape, int count, unsigned char* const* data, const long* sizes, const int* roles,
    emulator::FaultRecord* fault) {
  using namespace emulator;
  Launch* l = launch = new Launch{};
  l->body = bodies[kernel];
  memcpy(l->grid, shape, sizeof l->grid);
  l->threads = shape[3];
  l->reverse = shape[5];
  l->thread.resize(l->threads);
  l->arguments.resize(count);
  for (int i = 0; i < count; ++i) {
    l->arguments[i] = {i, (Role)roles[i], data[i], sizes[i], {}};
    if (roles[i] != kReadOnly && roles[i] != kCounters) l->arguments[i].marks.resize(sizes[i]);
  }
  l->shared_data.resize(shape[4]);
  l->shared_marks.resize(shape[4]);
  l->shared = {-1, kShared, l->shared_data.data(), shape[4], {}};
  l->fault = fault;
  long stack_bytes = l->threads * (kStackBytes + kGuardBytes);
  void* stacks = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stacks == MAP_FAILED) __builtin_trap();
  l->stacks = (char*)stacks;
  for (int i = 0; i < l->threads; ++i) mprotect(l->stacks + i * (kStackBytes + kGuardBytes), kGuardBytes, PROT_NONE);
  int failed = 1;
  if (!_setjmp(l->failed)) {
    run_grid();
    failed = 0;
  }
  munmap(launch->stacks, launch->threads * (kStackBytes + kGuardBytes));
  delete launch;
  launch = nullptr;
  return failed;
}
