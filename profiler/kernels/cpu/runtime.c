/*
 * What every CPU artifact carries next to its kernel: the timing loop, the preparation of the caches, the pool of
 * threads behind TVM's parallel loops, and the loop that runs the kernels of a network. C11, libc and pthreads only,
 * Linux on x86-64 and aarch64.
 *
 * One launch in lowbit_time:
 *
 *     | prepare the caches (by mode) | wake the helpers | fence | clock | kernel | clock |
 *
 * Nothing is subtracted from what the clock says: reading it twice costs some 40 ns.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif !defined(__aarch64__)
#error "runtime.c: only x86-64 and aarch64 are supported"
#endif

#define EXPORT __attribute__((visibility("default")))
#define HIDDEN __attribute__((visibility("hidden")))

enum { ABI_VERSION = 1, MAX_THREADS = 256 };
enum { MODE_HOT = 0, MODE_NETWORK = 1, MODE_COLD = 2 };
enum { ROLE_INPUT = 0, ROLE_PARAMETER = 1 }; /* of the roles of artifact.py only these two matter here */

/* How long a helper that has nothing to do spins before it sleeps. A wake-up from sleep takes 5 to 50 us, one from
 * spinning well under 1 us; the gap between two layers of a network is far below this. */
static const int64_t SPIN_NS = 100000;

typedef struct {
    void* data;
    int64_t bytes;
    int role;
} lowbit_region;

typedef struct {
    void* sync_handle;
    int32_t num_task;
} TVMParallelGroupEnv;

typedef int (*parallel_lambda)(int task_id, TVMParallelGroupEnv* env, void* data);

EXPORT int lowbit_abi(void);
EXPORT int lowbit_prepare(int threads);
EXPORT int64_t lowbit_clock_hz(void);
EXPORT int lowbit_time(void (*entry)(void**), void** args, int64_t launches, int mode, const lowbit_region* regions,
                       int n_regions, int64_t* out_ns);
EXPORT int lowbit_chain(void (*const* entries)(void**), void** const* args, int64_t steps, int64_t runs,
                        int64_t* marks_ns, int64_t* total_ns);
HIDDEN int TVMBackendParallelLaunch(parallel_lambda lambda, void* data, int num_task);
HIDDEN int TVMBackendParallelBarrier(int task_id, TVMParallelGroupEnv* env);

int lowbit_abi(void) { return ABI_VERSION; }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void cpu_relax(void) {
#if defined(__x86_64__)
    _mm_pause();
#else
    __asm__ __volatile__("yield" ::: "memory");
#endif
}

/* ---- The pool ---------------------------------------------------------------------------------------------------
 * One launch at a time, started by the thread that called lowbit_prepare. `generation` counts launches; a helper that
 * sees it change takes its share of the tasks, and `pending` tells the launching thread when all are done. */

typedef struct {
    _Alignas(64) atomic_uint arrived;
    _Alignas(64) atomic_uint phase;
} barrier;

typedef struct {
    _Alignas(64) atomic_uint generation;
    atomic_uint sleepers;
    atomic_int stopping;
    _Alignas(64) atomic_int pending;
    atomic_int error;
    /* The job: written before `generation` is raised, read after it was seen to change. */
    _Alignas(64) parallel_lambda lambda;
    void* data;
    TVMParallelGroupEnv env;
    int threads;
    barrier gate;
    unsigned first_seen;
    pthread_t helpers[MAX_THREADS];
} pool_state;

static pool_state pool = {.threads = 1};
static atomic_int launching;

static long futex(atomic_uint* word, int op, unsigned value) {
    return syscall(SYS_futex, (void*)word, op | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

/* Spins until *word differs from `value` or the time is over; whether it differs. */
static int spin_while_equal(atomic_uint* word, unsigned value, int64_t limit_ns) {
    const int64_t end = now_ns() + limit_ns;
    do {
        for (int i = 0; i < 64; ++i) {
            if (atomic_load_explicit(word, memory_order_acquire) != value) return 1;
            cpu_relax();
        }
    } while (now_ns() < end);
    return 0;
}

/* Tasks first, first + threads, first + 2 threads, ... of the job. */
static void run_share(int first) {
    for (int task = first; task < pool.env.num_task; task += pool.threads) {
        const int error = pool.lambda(task, &pool.env, pool.data);
        if (error) atomic_store(&pool.error, error);
    }
}

static void* helper(void* argument) {
    const int index = (int)(intptr_t)argument;
    unsigned seen = pool.first_seen;
    for (;;) {
        if (!spin_while_equal(&pool.generation, seen, SPIN_NS)) {
            atomic_fetch_add(&pool.sleepers, 1);
            while (atomic_load(&pool.generation) == seen) futex(&pool.generation, FUTEX_WAIT, seen);
            atomic_fetch_sub(&pool.sleepers, 1);
        }
        ++seen; /* the next launch starts only when this one's `pending` is zero, so none is missed */
        if (atomic_load(&pool.stopping)) return NULL;
        run_share(index);
        atomic_fetch_sub_explicit(&pool.pending, 1, memory_order_release);
    }
}

static void raise_generation(void) {
    atomic_fetch_add(&pool.generation, 1);
    if (atomic_load(&pool.sleepers)) futex(&pool.generation, FUTEX_WAKE, INT32_MAX);
}

static void stop_pool(int started) {
    if (started > 0) {
        atomic_store(&pool.stopping, 1);
        raise_generation();
        for (int i = 0; i < started; ++i) pthread_join(pool.helpers[i], NULL);
        atomic_store(&pool.stopping, 0);
    }
    pool.threads = 1;
}

static int launch(parallel_lambda lambda, void* data, int num_task) {
    pool.lambda = lambda;
    pool.data = data;
    pool.env.num_task = num_task;
    pool.env.sync_handle = num_task <= pool.threads ? &pool.gate : NULL; /* a barrier needs all tasks at once */
    atomic_store(&pool.gate.arrived, 0);
    atomic_store(&pool.error, 0);
    atomic_store(&pool.pending, pool.threads - 1);
    raise_generation();
    run_share(0);
    for (int64_t spins = 0; atomic_load_explicit(&pool.pending, memory_order_acquire) > 0; ++spins) {
        if (spins < 100000) cpu_relax();
        else sched_yield(); /* somebody else holds a helper's CPU: let the system sort it out */
    }
    return atomic_load(&pool.error);
}

/* Called by generated code for each parallel loop; `num_task` 0 stands for one task per thread. */
int TVMBackendParallelLaunch(parallel_lambda lambda, void* data, int num_task) {
    const int nested = atomic_exchange(&launching, 1);
    if (nested || pool.threads == 1) {
        TVMParallelGroupEnv env = {NULL, num_task > 0 ? num_task : 1};
        int error = 0;
        for (int task = 0; task < env.num_task && !error; ++task) error = lambda(task, &env, data);
        if (!nested) atomic_store(&launching, 0);
        return error;
    }
    const int error = launch(lambda, data, num_task > 0 ? num_task : pool.threads);
    atomic_store(&launching, 0);
    return error;
}

/* Waits for all tasks of the launch; -1 if they do not run at the same time. */
int TVMBackendParallelBarrier(int task_id, TVMParallelGroupEnv* env) {
    (void)task_id;
    if (env->num_task <= 1) return 0;
    barrier* gate = env->sync_handle;
    if (gate == NULL) return -1;
    const unsigned phase = atomic_load(&gate->phase);
    if (atomic_fetch_add(&gate->arrived, 1) + 1 == (unsigned)env->num_task) {
        atomic_store(&gate->arrived, 0);
        atomic_store(&gate->phase, phase + 1);
        return 0;
    }
    while (!spin_while_equal(&gate->phase, phase, SPIN_NS)) sched_yield();
    return 0;
}

/* Objects that TVM did not compile as a system library reach the two through pointers of their own, which are null
 * until somebody fills them in. A kernel without parallel loops does not have them. */
extern EXPORT void* __TVMBackendParallelLaunch __attribute__((weak));
extern EXPORT void* __TVMBackendParallelBarrier __attribute__((weak));

__attribute__((constructor)) static void connect_hooks(void) {
    int (*const launch_hook)(parallel_lambda, void*, int) = TVMBackendParallelLaunch;
    int (*const barrier_hook)(int, TVMParallelGroupEnv*) = TVMBackendParallelBarrier;
    if (&__TVMBackendParallelLaunch) memcpy(&__TVMBackendParallelLaunch, &launch_hook, sizeof launch_hook);
    if (&__TVMBackendParallelBarrier) memcpy(&__TVMBackendParallelBarrier, &barrier_hook, sizeof barrier_hook);
}

__attribute__((destructor)) static void end_pool(void) { stop_pool(pool.threads - 1); }

/* Pins the calling thread and starts `threads` - 1 pinned helpers, on the CPUs that the calling thread may run on,
 * highest number first (CPU 0 serves most interrupts). Returns 0 or an errno; EAGAIN: fewer CPUs than threads. */
int lowbit_prepare(int threads) {
    cpu_set_t allowed;
    int cpus[MAX_THREADS], found = 0;
    if (threads < 1 || threads > MAX_THREADS) return EINVAL;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return errno;
    for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && found < threads; --cpu)
        if (CPU_ISSET(cpu, &allowed)) cpus[found++] = cpu;
    if (found < threads) return EAGAIN;

    stop_pool(pool.threads - 1);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpus[0], &one);
    if (sched_setaffinity(0, sizeof one, &one)) return errno;

    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* helpers take no signals of the process */
    pool.first_seen = atomic_load(&pool.generation);
    int started = 0, error = 0;
    while (started < threads - 1 && !error) {
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        CPU_ZERO(&one);
        CPU_SET(cpus[started + 1], &one);
        pthread_attr_setaffinity_np(&attributes, sizeof one, &one);
        error = pthread_create(&pool.helpers[started], &attributes, helper, (void*)(intptr_t)(started + 1));
        pthread_attr_destroy(&attributes);
        if (!error) ++started;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) stop_pool(started);
    else pool.threads = threads;
    return error;
}

/* ---- The caches -------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
static int has_clflushopt;

static size_t line_bytes(void) {
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) has_clflushopt = (int)((b >> 23) & 1);
    if (__get_cpuid(1, &a, &b, &c, &d) && ((b >> 8) & 255)) return ((b >> 8) & 255) * 8;
    return 64;
}

static void full_fence(void) {
    _mm_mfence(); /* clflushopt is ordered by mfence only */
    _mm_lfence();
}

static void flush(const lowbit_region* region, size_t line) {
    char* const end = (char*)region->data + region->bytes;
    char* at = (char*)((uintptr_t)region->data & ~(uintptr_t)(line - 1));
    if (has_clflushopt)
        for (; at < end; at += line) __asm__ __volatile__(".byte 0x66\n\tclflush %0" : "+m"(*(volatile char*)at));
    else
        for (; at < end; at += line) _mm_clflush(at);
}
#else
static size_t line_bytes(void) {
    uint64_t type;
    __asm__("mrs %0, ctr_el0" : "=r"(type));
    return (size_t)4 << ((type >> 16) & 15);
}

static void full_fence(void) { __asm__ __volatile__("dsb sy\n\tisb" ::: "memory"); }

static void flush(const lowbit_region* region, size_t line) {
    char* const end = (char*)region->data + region->bytes;
    for (char* at = (char*)((uintptr_t)region->data & ~(uintptr_t)(line - 1)); at < end; at += line)
        __asm__ __volatile__("dc civac, %0" ::"r"(at) : "memory");
}
#endif

static void read_through(const lowbit_region* region, size_t line) {
    const volatile char* data = region->data;
    for (int64_t at = 0; at < region->bytes; at += (int64_t)line) (void)data[at];
    if (region->bytes > 0) (void)data[region->bytes - 1]; /* a last line that an unaligned start has cut off */
}

static void prepare_caches(int mode, const lowbit_region* regions, int n_regions, size_t line) {
    if (mode == MODE_HOT) return;
    for (int i = 0; i < n_regions; ++i)
        if (mode == MODE_COLD || regions[i].role == ROLE_PARAMETER) flush(&regions[i], line);
    full_fence(); /* lines that are being flushed must not be fetched again by what follows */
    if (mode == MODE_NETWORK)
        for (int i = 0; i < n_regions; ++i)
            if (regions[i].role == ROLE_INPUT) read_through(&regions[i], line);
}

static int nothing(int task_id, TVMParallelGroupEnv* env, void* data) {
    (void)task_id, (void)env, (void)data;
    return 0;
}

/* ---- The timed window -------------------------------------------------------------------------------------------- */

/* Times each of `launches` calls of `entry` after bringing the caches into the state of `mode`; out_ns[i] is what the
 * clock said of launch i. Returns 0, or EINVAL. */
int lowbit_time(void (*entry)(void**), void** args, int64_t launches, int mode, const lowbit_region* regions,
                int n_regions, int64_t* out_ns) {
    if (launches < 0 || mode < MODE_HOT || mode > MODE_COLD || n_regions < 0) return EINVAL;
    const size_t line = line_bytes();
    for (int64_t i = 0; i < launches; ++i) {
        prepare_caches(mode, regions, n_regions, line);
        /* The preparation may outlast the helpers' patience, and in a network they come awake from the last layer. */
        if (pool.threads > 1) launch(nothing, NULL, pool.threads);
        full_fence();
        const int64_t start = now_ns();
        entry(args);
        out_ns[i] = now_ns() - start;
    }
    return 0;
}

/* ---- A network ---------------------------------------------------------------------------------------------------
 * The kernels of a network are those of many artifacts; the chain of any one of them runs them all, on one thread (each
 * artifact has a pool of its own). Caches are as the run before left them. */

/* Calls entries[0](args[0]), ..., entries[steps - 1](args[steps - 1]), `runs` times. total_ns[r] is what the clock said
 * of run r. Unless `marks_ns` is null, marks_ns[r * steps + i] is when step i of run r had ended, since the start of
 * that run: one reading of the clock per step, which `total_ns` then holds too. Returns 0, or EINVAL. */
int lowbit_chain(void (*const* entries)(void**), void** const* args, int64_t steps, int64_t runs, int64_t* marks_ns,
                 int64_t* total_ns) {
    if (steps < 0 || runs < 0) return EINVAL;
    for (int64_t r = 0; r < runs; ++r) {
        full_fence();
        const int64_t start = now_ns();
        if (marks_ns == NULL) {
            for (int64_t i = 0; i < steps; ++i) entries[i](args[i]);
        } else {
            for (int64_t i = 0; i < steps; ++i) {
                entries[i](args[i]);
                marks_ns[r * steps + i] = now_ns() - start;
            }
        }
        total_ns[r] = now_ns() - start;
    }
    return 0;
}

/* ---- The clock of the core ---------------------------------------------------------------------------------------
 * An addition that waits for the one before takes one cycle on every core that we know, so a chain of them tells how
 * fast this core runs right now, in a virtual machine too. The best of a few chains, as an interrupt only makes one
 * longer. About 100 us. */

int64_t lowbit_clock_hz(void) {
    enum { CHAIN = 64, ROUNDS = 1000, CHAINS = 5 };
    int64_t shortest = INT64_MAX;
    for (int i = 0; i < CHAINS; ++i) {
        uint64_t value = 1;
        const int64_t start = now_ns();
        for (int round = 0; round < ROUNDS; ++round) {
#if defined(__x86_64__)
            __asm__ __volatile__(".rept 64\n\tadd %0, %0\n\t.endr" : "+r"(value)::"cc");
#else
            __asm__ __volatile__(".rept 64\n\tadd %0, %0, %0\n\t.endr" : "+r"(value));
#endif
        }
        const int64_t elapsed = now_ns() - start;
        if (elapsed > 0 && elapsed < shortest) shortest = elapsed;
    }
    return (int64_t)CHAIN * ROUNDS * 1000000000 / shortest;
}
