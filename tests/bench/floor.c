/* The floor under any fan-out: one thread sends the same bytes to each of N loopback connections in turn.
 *
 *   floor CONNECTIONS BYTES SECONDS SENDER_CORE READER_CORE
 *
 * A second process on another core reads. Standard output: one JSON object, processor time of the sender for each send.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void read_forever(struct sockaddr_in *address, int count) {
    static char sink[1 << 18];
    static struct epoll_event events[1024];
    int ep = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (void *)address, sizeof *address)) { perror("floor: connect"); _exit(1); }
        struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
    for (;;) {
        int n = epoll_wait(ep, events, 1024, -1);
        for (int i = 0; i < n; i++) if (recv(events[i].data.fd, sink, sizeof sink, MSG_DONTWAIT) == 0) _exit(0);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) return 2;
    int count = atoi(argv[1]), size = atoi(argv[2]), one = 1;
    double seconds = atof(argv[3]);
    signal(SIGPIPE, SIG_IGN);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (void *)&address, length) || listen(listener, 8192)) { perror("floor: listen"); return 1; }
    getsockname(listener, (void *)&address, &length);
    pid_t reader = fork();
    if (!reader) {
        pin(atoi(argv[5]));
        read_forever(&address, count);
    }
    pin(atoi(argv[4]));
    int *fds = malloc((size_t)count * sizeof *fds);
    for (int i = 0; i < count; i++) {
        fds[i] = accept(listener, 0, 0);
        if (fds[i] < 0) { perror("floor: accept"); kill(reader, SIGKILL); return 1; }
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    char *bytes = malloc((size_t)size);
    memset(bytes, 'x', (size_t)size);
    unsigned long sent = 0, refused = 0;
    double began = now_s(), cpu0 = cpu_s();
    while (now_s() - began < seconds)
        for (int i = 0; i < count; i++) {
            if (send(fds[i], bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) { refused++; usleep(0); }
            else sent++;
        }
    double used = cpu_s() - cpu0;
    printf("{\"sends\":%lu,\"refused\":%lu,\"cpu_us\":%.4f}\n", sent, refused, used * 1e6 / (double)sent);
    kill(reader, SIGKILL);
    waitpid(reader, 0, 0);
    return 0;
}
