/* A slow disk: every fsync and fdatasync takes five milliseconds longer.
   cc -shared -fPIC -o slow_fsync.so slow_fsync.c -ldl; LD_PRELOAD=slow_fsync.so program */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static int delayed(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct timespec pause = {0, 5000000};

    nanosleep(&pause, NULL);
    return real(fd);
}

int fsync(int fd) { return delayed("fsync", fd); }
int fdatasync(int fd) { return delayed("fdatasync", fd); }
