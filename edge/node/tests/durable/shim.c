// Under a process on trial: see shim.rs. Control file: two 64-bit numbers, the clock's error in milliseconds
// and the error number with which writes below a folder fail (0: none do).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *control;
static const char *disk;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("DURABLE_TEST_SHIM");
  disk = getenv("DURABLE_TEST_SHIM_DISK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *map = mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
  control = map == MAP_FAILED ? NULL : map;
  close(file);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int fails(int file) {
  if (!control || !disk || !control[1]) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  if (strncmp(path, disk, strlen(disk)) != 0) return 0;
  errno = (int)control[1];
  return 1;
}

ssize_t write(int file, const void *bytes, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = REAL(write);
  return fails(file) ? -1 : real(file, bytes, size);
}

ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = REAL(pwrite);
  return fails(file) ? -1 : real(file, bytes, size, at);
}

ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  static ssize_t (*real)(int, const void *, size_t, off64_t);
  if (!real) real = REAL(pwrite64);
  return fails(file) ? -1 : real(file, bytes, size, at);
}

int ftruncate(int file, off_t size) {
  static int (*real)(int, off_t);
  if (!real) real = REAL(ftruncate);
  return fails(file) ? -1 : real(file, size);
}

int ftruncate64(int file, off64_t size) {
  static int (*real)(int, off64_t);
  if (!real) real = REAL(ftruncate64);
  return fails(file) ? -1 : real(file, size);
}

int fsync(int file) {
  static int (*real)(int);
  if (!real) real = REAL(fsync);
  return fails(file) ? -1 : real(file);
}

int fdatasync(int file) {
  static int (*real)(int);
  if (!real) real = REAL(fdatasync);
  return fails(file) ? -1 : real(file);
}

static int64_t off_ms(void) { return control ? control[0] : 0; }

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = REAL(clock_gettime);
  int done = real(clock, time);
  if (done == 0 && clock == CLOCK_REALTIME) time->tv_sec += off_ms() / 1000;
  return done;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  static int (*real)(struct timeval *, void *);
  if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
  int done = real(time, zone);
  if (done == 0 && time) time->tv_sec += off_ms() / 1000;
  return done;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
