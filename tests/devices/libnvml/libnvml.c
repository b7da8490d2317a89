// NVIDIA's management library without a GPU, on which the real pynvml runs: one T4 that says what `fake_nvml.FakeGpu`
// says by default, with two processes on it. The energy counter is "Not Supported", ECC is "Insufficient Permissions".
//
// With OLD_DRIVER it is that of a driver of 2021: no clock event reasons, and processes in their second version only.
#include <stdio.h>
#include <string.h>

typedef unsigned int Word;
typedef unsigned long long Long;
typedef struct { char legacy[16]; Word domain, bus, device, id, subsystem; char text[32]; } Pci;
typedef struct { Long total, free, used; } Memory;
typedef struct { Word pid; Long bytes; Word gpu_instance, compute_instance; } Process;
typedef struct { Long reference_us, violation_ns; } Violation;

enum { NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6, TOO_SMALL = 7 };
static int card;
static Word locked_mhz;

static int text(char* to, Word length, const char* from) { return snprintf(to, length, "%s", from), 0; }
static int word(Word* to, Word value) { return *to = value, 0; }

int nvmlInitWithFlags(Word flags) { return (int)flags; }
int nvmlShutdown(void) { return 0; }
const char* nvmlErrorString(int code) { return code ? "An error" : "Success"; }
int nvmlSystemGetDriverVersion(char* to, Word length) { return text(to, length, "535.129.03"); }
int nvmlSystemGetCudaDriverVersion(int* version) { return *version = 12020, 0; }
int nvmlSystemGetCudaDriverVersion_v2(int* version) { return *version = 12020, 0; }
int nvmlSystemGetProcessName(Word pid, char* to, Word length) {
  return pid == 4242 ? text(to, length, "/usr/bin/ollama") : NOT_FOUND;
}
int nvmlDeviceGetCount_v2(Word* count) { return word(count, 1); }
int nvmlDeviceGetHandleByIndex_v2(Word index, void** handle) { return *handle = &card, index ? 2 : 0; }
int nvmlDeviceGetName(void* gpu, char* to, Word length) { return text(to, length, gpu == &card ? "Tesla T4" : "?"); }
int nvmlDeviceGetUUID(void* gpu, char* to, Word length) {
  return (void)gpu, text(to, length, "GPU-1a2b3c4d-0000-0000-0000-000000000000");
}
int nvmlDeviceGetVbiosVersion(void* gpu, char* to, Word length) { return (void)gpu, text(to, length, "90.04.96.00.A0"); }
int nvmlDeviceGetPciInfo_v3(void* gpu, Pci* pci) {
  (void)gpu;
  memset(pci, 0, sizeof *pci);
  return text(pci->text, sizeof pci->text, "00000000:00:1E.0");
}
int nvmlDeviceGetCudaComputeCapability(void* gpu, int* major, int* minor) { return (void)gpu, *major = 7, *minor = 5, 0; }
int nvmlDeviceGetMemoryInfo(void* gpu, Memory* to) { return (void)gpu, to->total = 15ULL << 30, 0; }
int nvmlDeviceGetEnforcedPowerLimit(void* gpu, Word* mw) { return (void)gpu, word(mw, 70000); }
int nvmlDeviceGetPowerManagementDefaultLimit(void* gpu, Word* mw) { return (void)gpu, word(mw, 70000); }
int nvmlDeviceGetEccMode(void* gpu, Word* now, Word* next) { return (void)gpu, (void)now, (void)next, NO_PERMISSION; }
int nvmlDeviceGetPersistenceMode(void* gpu, Word* mode) { return (void)gpu, word(mode, 1); }
int nvmlDeviceGetComputeMode(void* gpu, Word* mode) { return (void)gpu, word(mode, 0); }
int nvmlDeviceGetMigMode(void* gpu, Word* now, Word* next) { return (void)gpu, (void)now, (void)next, NOT_SUPPORTED; }
int nvmlDeviceGetDefaultApplicationsClock(void* gpu, Word kind, Word* mhz) {
  return (void)gpu, word(mhz, kind == 2 ? 5001 : 585);
}
int nvmlDeviceGetMaxClockInfo(void* gpu, Word kind, Word* mhz) { return (void)gpu, word(mhz, kind == 2 ? 5001 : 1590); }
int nvmlDeviceGetClockInfo(void* gpu, Word kind, Word* mhz) {
  return (void)gpu, word(mhz, kind == 2 ? 5000 : locked_mhz ? locked_mhz : 1590);
}
int nvmlDeviceGetSupportedMemoryClocks(void* gpu, Word* count, Word* mhz) {
  (void)gpu;
  if (!mhz) return *count = 2, TOO_SMALL;
  return mhz[0] = 5001, mhz[1] = 405, 0;
}
int nvmlDeviceGetSupportedGraphicsClocks(void* gpu, Word memory_mhz, Word* count, Word* mhz) {
  (void)gpu;
  if (memory_mhz != 5001) return NOT_FOUND;
  if (!mhz) return *count = 3, TOO_SMALL;
  return mhz[0] = 1590, mhz[1] = 1005, mhz[2] = 585, 0;
}
int nvmlDeviceGetTemperature(void* gpu, Word sensor, Word* c) { return (void)gpu, sensor ? 2 : word(c, 45); }
int nvmlDeviceGetPowerUsage(void* gpu, Word* mw) { return (void)gpu, word(mw, 27500); }
int nvmlDeviceGetTotalEnergyConsumption(void* gpu, Long* mj) { return (void)gpu, (void)mj, NOT_SUPPORTED; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void* gpu, Long* bits) { return (void)gpu, *bits = 0x4, 0; }
int nvmlDeviceGetViolationStatus(void* gpu, Word policy, Violation* to) {
  return (void)gpu, to->violation_ns = 1000000000000ULL + policy, 0;
}
static int processes(Word* count, Process* to) {
  if (!to) return *count = 2, TOO_SMALL;
  to[0] = (Process){4242, 1ULL << 33, 0, 0};
  to[1] = (Process){4243, ~0ULL, 0, 0};  // memory that is not known
  return *count = 2, 0;
}
int nvmlDeviceGetComputeRunningProcesses_v2(void* gpu, Word* count, Process* to) { return (void)gpu, processes(count, to); }
int nvmlDeviceGetGraphicsRunningProcesses_v2(void* gpu, Word* count, Process* to) {
  return (void)gpu, (void)to, *count = 0, 0;
}
#ifndef OLD_DRIVER
int nvmlDeviceGetCurrentClocksEventReasons(void* gpu, Long* bits) { return (void)gpu, *bits = 0x4, 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void* gpu, Word* count, Process* to) { return (void)gpu, processes(count, to); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(void* gpu, Word* count, Process* to) {
  return (void)gpu, (void)to, *count = 0, 0;
}
#endif
int nvmlDeviceSetGpuLockedClocks(void* gpu, Word low_mhz, Word high_mhz) {
  return (void)gpu, low_mhz == high_mhz ? word(&locked_mhz, low_mhz) : 2;
}
int nvmlDeviceResetGpuLockedClocks(void* gpu) { return (void)gpu, word(&locked_mhz, 0); }
