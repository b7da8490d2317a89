// A driver without a GPU, for the tests of driver.py: device memory is host memory, and a launch adds one to each byte
// of the second argument's first `grid x` bytes, copied from the first. Wrong arguments are refused with an error.
//
// A launch of 700 blocks along x is of an illegal address: calls of its context fail from then on, until the context is
// reset. After a launch of 719 blocks that does not help.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, NO_CONTEXT = 201 };

static int contexts[2];  // the address of each is a context: as the first one, and as the one after a reset
static int resets, retained, broken;
static void* current;

static int state(void) { return broken ? broken : current ? 0 : NO_CONTEXT; }

int cuInit(unsigned flags) { return flags != 0; }
int cuDeviceGet(int* device, int ordinal) { *device = 7; return ordinal == 0 ? 0 : 101; }
int cuDevicePrimaryCtxRetain(void** context, int device) {
  retained++;
  *context = &contexts[resets % 2];
  return device != 7;
}
int cuDevicePrimaryCtxRelease_v2(int device) { return device != 7 || retained-- == 0; }
int cuDevicePrimaryCtxReset_v2(int device) {
  if (broken == LAUNCH_FAILED) return broken;
  broken = 0;
  current = NULL;
  resets++;
  return device != 7;
}
int cuCtxSetCurrent(void* context) { current = context; return context != &contexts[resets % 2]; }
int cuCtxSynchronize(void) { return state(); }
int cuDeviceGetName(char* text, int length, int device) { strncpy(text, "Fake", length); return device != 7; }
int cuDeviceGetAttribute(int* value, int number, int device) { *value = number == 75 ? 9 : 0; return device != 7; }
int cuModuleLoadData(void** module, const char* image) {
  *module = malloc(1);
  return state() ? state() : strcmp(image, "cubin") ? 200 : 0;
}
int cuModuleUnload(void* module) { free(module); return state(); }
int cuModuleGetFunction(void** function, void* module, const char* name) {
  *function = module;
  return strcmp(name, "entry") ? 500 : 0;
}
int cuFuncSetAttribute(void* function, int attribute, int value) { return !function || attribute != 8 || value != 48; }
int cuMemAlloc_v2(uint64_t* address, size_t size) { *address = (uint64_t)malloc(size); return state(); }
int cuMemFree_v2(uint64_t address) { free((void*)address); return state(); }
int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t size) { memcpy((void*)to, from, size); return state(); }
int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) { memcpy(to, (void*)from, size); return state(); }
int cuGetErrorString(int code, const char** text) {
  *text = code == 200               ? "device kernel image is invalid"
          : code == 101             ? "invalid device ordinal"
          : code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
          : code == LAUNCH_FAILED   ? "unspecified launch failure"
                                    : "other";
  return 0;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz,
                   unsigned shared, void* stream, void** parameters, void** extra) {
  if (!function || y != 2 || z != 3 || tx != 64 || ty != 1 || tz != 1 || shared != 48 || stream || extra) return 1;
  if (x == ILLEGAL_ADDRESS || x == LAUNCH_FAILED) {
    broken = x;
    return 0;
  }
  uint8_t* from = *(uint8_t**)parameters[0];
  uint8_t* to = *(uint8_t**)parameters[1];
  for (unsigned i = 0; i < x; ++i) to[i] = from[i] + 1;
  return 0;
}
