// A CUDA driver without a GPU, on which the real PyCUDA and cuda-bindings run: two GPUs whose memory is this machine's.
//
// Launches, fills and events wait in a queue, as they do on a GPU, until a call that waits for them; a flag that is set
// after a launch is seen by it. The clock is virtual: a launch takes as many microseconds as its grid has blocks. Launches
// into a stream that is captured are kept, and go into the queue when their graph is launched.
//
// What code does follows from the names in it:
//   add_one(in, out, ...)   out[i] = in[i] + 1 for as many bytes as there are blocks along x
//   describe(out, ...)      the launch, as 64-bit words: grid, block, shared bytes, bytes of arguments, arguments
//   copy_word(from, to)     32 bits
//   spin(flag, ns, out)     out[0] = 1 if the flag is set, else 2: it does not wait, for nobody can set it now
//   clock(ns, out)          that time and the cycles in it at 1.5 GHz, in 64 bits each
//   fails_N()               the context is broken from then on; all calls return N
//   refused_N()             the launch itself returns N; nothing is broken
//   load_N                  code with this name in it is not loaded, with error N and a log
// A cubin is here: "\x7f" "ELF", its length in 32 bits, names with a NUL after each. PTX is text with ".entry NAME".
//
// The environment: CUDA_VISIBLE_DEVICES with ordinals, and FAKE_REFUSES="cuInit=803" to let one call fail.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GPUS = 2, TOTAL_BYTES = 64 << 20, SHARED_BYTES = 48 << 10, OPTIN_BYTES = 64 << 10, QUEUE = 4096, ARGUMENTS = 32 };
enum { INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };
enum { INVALID_IMAGE = 200, INVALID_CONTEXT = 201, NOT_FOUND = 500, NOT_READY = 600 };

static const struct { int code; const char* text; } ERRORS[] = {
    {1, "invalid argument"},
    {2, "out of memory"},
    {3, "initialization error"},
    {46, "CUDA-capable device(s) is/are busy or unavailable"},
    {100, "no CUDA-capable device is detected"},
    {101, "invalid device ordinal"},
    {200, "device kernel image is invalid"},
    {201, "invalid device context"},
    {209, "no kernel image is available for execution on the device"},
    {214, "uncorrectable ECC error encountered"},
    {218, "a PTX JIT compilation failed"},
    {222, "the provided PTX was compiled with an unsupported toolchain."},
    {400, "invalid resource handle"},
    {500, "named symbol not found"},
    {600, "device not ready"},
    {700, "an illegal memory access was encountered"},
    {701, "too many resources requested for launch"},
    {702, "the launch timed out and was terminated"},
    {715, "an illegal instruction was encountered"},
    {716, "misaligned address"},
    {719, "unspecified launch failure"},
    {801, "operation not supported"},
    {803, "system has unsupported display driver / cuda driver combination"},
    {900, "operation not permitted when stream is capturing"},
    {901, "operation failed due to a previous error during capture"},
    {999, "unknown error"},
};

int cuGetErrorString(int code, const char** text) {
  *text = NULL;
  for (size_t i = 0; i < sizeof ERRORS / sizeof *ERRORS; ++i)
    if (ERRORS[i].code == code) *text = ERRORS[i].text;
  return *text ? 0 : INVALID_VALUE;
}

// ---------------------------------------------------------------------------------------------------- what is alive

typedef struct Operation Operation;

typedef struct Thing {  // an allocation, a module, a function, an event, a stream, a graph or one that can be launched
  const char* kind;
  Operation* captured;  // launches of a stream or a graph
  int captured_count, capturing, invalid;
  uint8_t *host, *device;
  size_t size;
  double time_s;
  int shared_limit, mapped;
  char name[64];
  struct Thing* next;
} Thing;

static Thing* things;
static int initialized, visible[GPUS], visible_count, retained, pushed, broken;

int fake_live(const char* kind) {
  int count = 0;
  for (Thing* thing = things; thing; thing = thing->next) count += !strcmp(thing->kind, kind);
  return count;
}

int fake_contexts(void) { return retained; }

static Thing* create(const char* kind) {
  Thing* thing = calloc(1, sizeof *thing);
  thing->kind = kind;
  thing->next = things;
  return things = thing;
}

static int destroy(Thing* which) {
  for (Thing** link = &things; *link; link = &(*link)->next)
    if (*link == which) {
      *link = which->next;
      free(which);
      return 0;
    }
  return 400;
}

static Thing* holding(uint64_t address, size_t size) {
  for (Thing* thing = things; thing; thing = thing->next) {
    uint64_t start = (uint64_t)thing->device;
    if (start && address >= start && address + size <= start + thing->size) return thing;
  }
  return NULL;
}

static int refused(const char* call) {
  const char* wish = getenv("FAKE_REFUSES");
  size_t length = strlen(call);
  return wish && !strncmp(wish, call, length) && wish[length] == '=' ? atoi(wish + length + 1) : 0;
}

static int state(void) {
  return !initialized ? NOT_INITIALIZED : broken ? broken : !retained || !pushed ? INVALID_CONTEXT : 0;
}

// ---------------------------------------------------------------------------------------------------- the stream

struct Operation {
  enum { LAUNCH, FILL, RECORD } what;
  Thing* thing;  // function or event
  uint32_t shape[7];  // grid, block, shared bytes
  uint64_t arguments[ARGUMENTS];
  size_t argument_bytes;
};

static Operation queue[QUEUE];
static int waiting;
static double clock_s;

static int number_in(const char* name, const char* prefix) {
  return strncmp(name, prefix, strlen(prefix)) ? 0 : atoi(name + strlen(prefix));
}

static void run(const Operation* operation) {
  const uint64_t* arguments = operation->arguments;
  const char* name = operation->thing->name;
  clock_s += 1e-6 * operation->shape[0] * operation->shape[1] * operation->shape[2];
  if (number_in(name, "fails_")) broken = number_in(name, "fails_");
  if (!strcmp(name, "add_one"))
    for (uint64_t i = 0; i < operation->shape[0]; ++i) ((uint8_t*)arguments[1])[i] = ((uint8_t*)arguments[0])[i] + 1;
  if (!strcmp(name, "describe")) {
    uint64_t* out = (uint64_t*)arguments[0];
    for (int i = 0; i < 7; ++i) *out++ = operation->shape[i];
    *out++ = operation->argument_bytes;
    memcpy(out, arguments, operation->argument_bytes);
  }
  if (!strcmp(name, "spin")) *(uint32_t*)arguments[2] = *(uint32_t*)arguments[0] ? 1 : 2;
  if (!strcmp(name, "clock")) {
    ((uint64_t*)arguments[1])[0] = arguments[0];
    ((uint64_t*)arguments[1])[1] = arguments[0] * 3 / 2;
  }
  if (!strcmp(name, "copy_word")) {
    if (holding(arguments[0], 4) && holding(arguments[1], 4))
      memcpy((void*)arguments[1], (void*)arguments[0], 4);
    else
      broken = 700;
  }
}

static int finish(void) {
  for (int i = 0; i < waiting && !broken; ++i) {
    if (queue[i].what == LAUNCH) run(&queue[i]);
    if (queue[i].what == FILL) memset((void*)queue[i].arguments[0], queue[i].arguments[1], queue[i].arguments[2]);
    if (queue[i].what == RECORD) queue[i].thing->time_s = clock_s;
  }
  waiting = 0;
  return state();
}

static Operation* keep(Thing* stream, Thing* function) {
  stream->captured = realloc(stream->captured, (stream->captured_count + 1) * sizeof(Operation));
  Operation* operation = &stream->captured[stream->captured_count++];
  memset(operation, 0, sizeof *operation);
  operation->what = LAUNCH;
  operation->thing = function;
  return operation;
}

static Operation* enqueue(int what, Thing* thing) {
  if (waiting == QUEUE) finish();
  Operation* operation = &queue[waiting++];
  memset(operation, 0, sizeof *operation);
  operation->what = what;
  operation->thing = thing;
  return operation;
}

// ---------------------------------------------------------------------------------------------------- GPUs, contexts

int cuInit(unsigned flags) {
  const char* wish = getenv("CUDA_VISIBLE_DEVICES");
  visible_count = 0;
  if (!wish)
    for (int gpu = 0; gpu < GPUS; ++gpu) visible[visible_count++] = gpu;
  for (; wish && *wish && visible_count < GPUS; wish += strcspn(wish, ","), wish += *wish == ',')
    if (*wish >= '0' && *wish < '0' + GPUS) visible[visible_count++] = *wish - '0';
  if (flags || !visible_count) return flags ? INVALID_VALUE : NO_DEVICE;
  initialized = 1;
  return refused("cuInit");
}

int cuDriverGetVersion(int* version) { return *version = 12020, 0; }

int cuDeviceGetPCIBusId(char* text, int length, int gpu) {
  snprintf(text, length, "0000:%s:00.0", gpu ? "AF" : "3B");
  return 0;
}

int cuDeviceGetByPCIBusId(int* device, const char* wanted) {
  unsigned domain, bus, slot, function;
  if (!initialized) return NOT_INITIALIZED;
  if (strlen(wanted) != 12 || sscanf(wanted, "%4x:%2x:%2x.%1x", &domain, &bus, &slot, &function) != 4)
    return INVALID_VALUE;
  for (int i = 0; i < visible_count; ++i)
    if (!domain && !slot && !function && bus == (visible[i] ? 0xAF : 0x3B)) return *device = visible[i], 0;
  return INVALID_DEVICE;
}

int cuDeviceGetName(char* text, int length, int gpu) { return snprintf(text, length, "Fake %d", gpu), 0; }

int cuDeviceTotalMem_v2(size_t* bytes, int gpu) { return *bytes = TOTAL_BYTES, gpu < 0; }

int cuDeviceGetAttribute(int* value, int number, int gpu) {
  *value = number == 75 ? 7 : number == 76 ? 5 : 1000 + number;  // compute capability 7.5
  return gpu < 0 || gpu >= GPUS;
}

int cuDevicePrimaryCtxRetain(void** context, int gpu) {
  if (refused("cuDevicePrimaryCtxRetain")) return refused("cuDevicePrimaryCtxRetain");
  retained++;
  *context = &visible[gpu];
  return 0;
}

int cuDevicePrimaryCtxRelease_v2(int gpu) {
  if (!retained || gpu < 0) return INVALID_CONTEXT;
  if (--retained == 0) {
    finish();
    while (things) destroy(things);
  }
  return broken;
}

int cuCtxPushCurrent_v2(void* context) { return context ? (pushed++, 0) : INVALID_CONTEXT; }

int cuCtxPopCurrent_v2(void** context) { return *context = NULL, pushed ? (pushed--, 0) : INVALID_CONTEXT; }

int cuCtxSynchronize(void) { return finish(); }

// ---------------------------------------------------------------------------------------------------- memory

int cuMemAlloc_v2(uint64_t* address, size_t size) {
  size_t used = 0;
  for (Thing* thing = things; thing; thing = thing->next) used += strcmp(thing->kind, "memory") ? 0 : thing->size;
  if (state()) return state();
  if (!size) return INVALID_VALUE;
  if (used + size > TOTAL_BYTES) return OUT_OF_MEMORY;
  Thing* thing = create("memory");
  thing->size = size;
  thing->device = aligned_alloc(256, (size + 255) / 256 * 256);
  *address = (uint64_t)thing->device;
  return 0;
}

int cuMemFree_v2(uint64_t address) {
  Thing* thing = holding(address, 1);
  if (finish()) return state();
  if (!thing || (uint64_t)thing->device != address) return INVALID_VALUE;
  free(thing->device);
  return destroy(thing);
}

int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t size) {
  if (finish()) return state();
  if (size && !holding(to, size)) return INVALID_VALUE;
  memcpy((void*)to, from, size);
  return 0;
}

int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) {
  if (finish()) return state();
  if (size && !holding(from, size)) return INVALID_VALUE;
  memcpy(to, (void*)from, size);
  return 0;
}

int cuMemsetD8_v2(uint64_t to, unsigned char value, size_t size) {
  if (state()) return state();
  if (size && !holding(to, size)) return INVALID_VALUE;
  Operation* operation = enqueue(FILL, NULL);
  operation->arguments[0] = to;
  operation->arguments[1] = value;
  operation->arguments[2] = size;
  return 0;
}

// The GPU sees host memory at another address.
int cuMemHostAlloc(void** host, size_t size, unsigned flags) {
  if (state()) return state();
  int file = memfd_create("host", 0);
  if (ftruncate(file, size)) return OUT_OF_MEMORY;
  Thing* thing = create("host");
  thing->size = size;
  thing->mapped = (flags & 2) != 0;
  thing->host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  thing->device = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  memset(thing->host, 0xEE, size);  // what the driver hands out is not empty
  close(file);
  *host = thing->host;
  return 0;
}

static Thing* host_memory(const void* host) {
  for (Thing* thing = things; thing; thing = thing->next)
    if (thing->host == host) return thing;
  return NULL;
}

int cuMemHostGetDevicePointer_v2(uint64_t* address, void* host, unsigned flags) {
  Thing* thing = host_memory(host);
  if (state()) return state();
  if (!thing || !thing->mapped || flags) return INVALID_VALUE;
  *address = (uint64_t)thing->device;
  return 0;
}

int cuMemFreeHost(void* host) { return host_memory(host) ? destroy(host_memory(host)) : INVALID_VALUE; }

// ---------------------------------------------------------------------------------------------------- code

static int has_entry(const uint8_t* image, const char* name) {
  char text[80];
  if (image[0] == 0x7f) {
    uint32_t size = *(const uint32_t*)(image + 4);
    return memmem(image + 8, size - 8, name, strlen(name) + 1) != NULL;
  }
  snprintf(text, sizeof text, ".entry %s(", name);
  return strstr((const char*)image, text) != NULL;
}

static size_t image_bytes(const uint8_t* image) {
  return image[0] == 0x7f ? *(const uint32_t*)(image + 4) : strlen((const char*)image) + 1;
}

static int load_error(const uint8_t* image) {
  const char* found = memmem(image, image_bytes(image), "load_", 5);
  return found ? atoi(found + 5) : 0;
}

int cuModuleLoadDataEx(void** module, const uint8_t* image, unsigned options, const int* option, void** value) {
  int code = state() ? state() : load_error(image);
  int recognized = !memcmp(image, "\x7f" "ELF", 4) || strstr((const char*)image, ".version ");
  for (unsigned i = 0; i + 1 < options; ++i)  // the log of errors and its size
    if (option[i] == 5) value[i + 1] = (void*)(size_t)(load_error(image) ? sprintf(value[i], "remark - of the loader") : 0);
    else if (option[i] == 3) value[i + 1] = 0;
  if (code || !recognized) return code ? code : INVALID_IMAGE;
  Thing* thing = create("module");
  thing->host = memcpy(malloc(image_bytes(image)), image, image_bytes(image));
  *module = thing;
  return 0;
}

int cuModuleUnload(Thing* module) { return finish() ? state() : destroy(module); }

int cuModuleGetFunction(Thing** function, Thing* module, const char* name) {
  if (state()) return state();
  if (!has_entry(module->host, name)) return NOT_FOUND;
  *function = create("function");
  (*function)->shared_limit = SHARED_BYTES;
  snprintf((*function)->name, sizeof(*function)->name, "%s", name);
  return 0;
}

int cuFuncSetAttribute(Thing* function, int attribute, int value) {
  if (attribute != 8 || value > OPTIN_BYTES) return INVALID_VALUE;
  function->shared_limit = value;
  return 0;
}

int cuFuncSetBlockShape(Thing* function, int x, int y, int z) { return !function || x * y * z > 1024; }

int cuLaunchKernel(Thing* function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, Thing* stream, void** parameters,
                   void** extra) {
  uint32_t shape[7] = {grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes};
  if (state()) return state();
  if (stream && !stream->capturing) return INVALID_VALUE;
  if (number_in(function->name, "refused_")) {
    if (stream) stream->invalid = 1;
    return number_in(function->name, "refused_");
  }
  if (parameters || extra[0] != (void*)1 || extra[2] != (void*)2 || extra[4]) return INVALID_VALUE;
  if (!grid_x || !grid_y || !grid_z || block_x * block_y * block_z > 1024) return INVALID_VALUE;
  if ((int)shared_bytes > function->shared_limit) return INVALID_VALUE;
  Operation* operation = stream ? keep(stream, function) : enqueue(LAUNCH, function);
  memcpy(operation->shape, shape, sizeof shape);
  operation->argument_bytes = *(size_t*)extra[3];
  memcpy(operation->arguments, extra[1], operation->argument_bytes);
  return 0;
}

// ---------------------------------------------------------------------------------------------------- streams, graphs

int cuStreamCreate(Thing** stream, unsigned flags) {
  if (state()) return state();
  *stream = create("stream");
  return flags;
}

int cuStreamDestroy_v2(Thing* stream) { return destroy(stream); }

int cuStreamBeginCapture_v2(Thing* stream, int mode) {
  if (state()) return state();
  if (!stream || stream->capturing) return INVALID_VALUE;
  stream->capturing = 1;
  stream->captured_count = stream->invalid = 0;
  return mode == 2 ? 0 : INVALID_VALUE;  // relaxed
}

static Thing* with_launches(const char* kind, const Thing* of) {
  Thing* thing = create(kind);
  size_t size = of->captured_count * sizeof(Operation);
  thing->captured_count = of->captured_count;
  thing->captured = size ? memcpy(malloc(size), of->captured, size) : NULL;
  return thing;
}

int cuStreamEndCapture(Thing* stream, Thing** graph) {
  *graph = NULL;
  if (state()) return state();
  if (!stream || !stream->capturing) return INVALID_VALUE;
  stream->capturing = 0;
  if (stream->invalid) return 901;
  *graph = with_launches("graph", stream);
  return 0;
}

int cuGraphInstantiateWithFlags(Thing** launchable, Thing* graph, unsigned long long flags) {
  if (state()) return state();
  if (refused("cuGraphInstantiate")) return refused("cuGraphInstantiate");
  *launchable = with_launches("launchable", graph);
  return flags != 0;
}

int cuGraphLaunch(Thing* launchable, void* stream) {
  if (state()) return state();
  for (int i = 0; i < launchable->captured_count; ++i)
    memcpy(enqueue(LAUNCH, NULL), &launchable->captured[i], sizeof(Operation));
  return stream != NULL;
}

int cuGraphDestroy(Thing* graph) { return destroy(graph); }

int cuGraphExecDestroy(Thing* launchable) { return finish() ? state() : destroy(launchable); }

// cuda-bindings asks for functions by their names without the version; what is not here does not exist.
int cuGetProcAddress_v2(const char* name, void** function, int version, uint64_t flags, int* result) {
  void* here = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  char versioned[128];
  snprintf(versioned, sizeof versioned, "%s_v2", name);
  void* found = dlsym(here, versioned);
  *function = found ? found : dlsym(here, name);
  if (result) *result = *function ? 0 : 1;
  return version < 0 || flags ? INVALID_VALUE : *function ? 0 : NOT_FOUND;
}

// ---------------------------------------------------------------------------------------------------- events

int cuEventCreate(Thing** event, unsigned flags) {
  if (state()) return state();
  *event = create("event");
  (*event)->time_s = -1;
  return flags;
}

int cuEventDestroy_v2(Thing* event) { return destroy(event); }

int cuEventRecord(Thing* event, void* stream) {
  if (state()) return state();
  event->time_s = -1;
  enqueue(RECORD, event);
  return stream != NULL;
}

int cuEventElapsedTime(float* milliseconds, const Thing* first, const Thing* second) {
  if (state()) return state();
  if (first->time_s < 0 || second->time_s < 0) return NOT_READY;
  *milliseconds = (float)(1e3 * (second->time_s - first->time_s));
  return 0;
}
