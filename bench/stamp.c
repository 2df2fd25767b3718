/* A component for the benchmark: its first act is to write down the time. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    char line[64];
    int length = snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    int trace = open(argc > 1 ? argv[1] : "trace", O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (write(trace, line, length) != length) return 1;
    for (;;) pause();
}
